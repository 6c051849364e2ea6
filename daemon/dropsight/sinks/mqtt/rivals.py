"""Another device with our name: what it says about us is corrected, and that there are two is a trouble."""

import threading
import time
from collections.abc import Callable
from typing import Annotated

import msgspec

from dropsight.errors import SinkError
from dropsight.sinks.mqtt.commands import Rate
from dropsight.sinks.mqtt.incoming import Incoming
from dropsight.sinks.mqtt.topics import Topics
from dropsight.status.troubles import Troubles

PART = "name"
ONLINE, OFFLINE = b"online", b"offline"
# Whoever has a rival says so often who it is; who is not heard for so long is gone.
REPEAT_SECONDS, GONE_SECONDS = 300.0, 750.0
# Who speaks oftener, or has longer names, is nobody's twin but fills our log.
A_SECOND, AT_ONCE = 1 / 60, 8.0

Name = Annotated[str, msgspec.Meta(max_length=255)]


class InfoSender(msgspec.Struct, frozen=True):
    """What an `info` says of who sent it; `instance` is another at each start."""

    instance: Name = ""
    host: Name = "an unknown host"
    started: Name = "an unknown time"


class Rivals:
    """Thread-safe: what is heard comes on the network's thread; `wake` has the session look."""

    def __init__(
        self, own: Callable[[], bytes], topics: Topics, troubles: Troubles, *, wake: Callable[[], None]
    ) -> None:
        self.contradicted = threading.Event()
        """We were called offline, and are not."""
        self._own, self._topics, self._troubles, self._wake = own, topics, troubles, wake
        self._us = InfoSender()
        self._pace = Rate(A_SECOND, AT_ONCE)
        self._heard_at = self._told_at = 0.0
        self._lock = threading.Lock()

    @property
    def has_spoken(self) -> bool:
        """Whether a retained `info` should be ours."""
        return bool(self._us.instance)

    @property
    def are_heard(self) -> bool:
        """Then each may throw the other out, which is no fault of what was on the way."""
        return bool(self._heard_at)

    def info(self) -> bytes:
        """Return our `info`, which is told now."""
        payload = self._own()
        with self._lock:
            self._us, self._told_at = msgspec.json.decode(payload, type=InfoSender), time.monotonic()
        return payload

    def hear_availability(self, asked: Incoming) -> None:
        """Of two, one may have gone: who is still there is found out anew."""
        if asked.payload == OFFLINE:
            with self._lock:
                if self._heard_at:
                    self._heard_at = self._told_at = 0.0
            self.contradicted.set()
            self._wake()

    def hear_info(self, asked: Incoming) -> None:
        try:
            other = msgspec.json.decode(asked.payload, type=InfoSender)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; empty, it was taken back
            return
        with self._lock:
            # A broker may have gone back to what it had kept of an earlier life of ours.
            if other.instance == self._us.instance or (asked.retained and other.started <= self._us.started):
                return
            if not self._pace.allows():
                return
            if not self._heard_at:
                self._told_at = 0.0
            self._heard_at = time.monotonic()
        rival = f"a dropsight on {other.host} (started {other.started}) also publishes to {self._topics.root}"
        fault = f"two devices with the same name: {rival}, which mixes their states"
        self._troubles.raised(PART, SinkError(f"{fault}; give each its own `device`"))
        self._wake()

    def due(self) -> bool:
        """Whether to tell who we are again; calls the trouble over once no rival is heard."""
        with self._lock:
            now = time.monotonic()
            if now - self._heard_at > GONE_SECONDS:
                self._heard_at = 0.0
            has_rival, was_told = bool(self._heard_at), bool(self._told_at)
            is_time = has_rival and now - self._told_at >= REPEAT_SECONDS
        if not has_rival:
            self._troubles.cleared(PART)
        return is_time or not was_told

    def seconds_to_next(self) -> float:
        if not self._heard_at:
            return float("inf")
        return max(self._told_at + REPEAT_SECONDS - time.monotonic(), 0.0)
