"""Commands that arrive over MQTT, carried out on their own thread: some take longer than a keepalive."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from dropsight.sinks.mqtt.incoming import Incoming
from dropsight.sinks.mqtt.topics import Topics

log = logging.getLogger(__name__)

LONGEST_QUEUE = 16
LONGEST_COMMAND_BYTES = 4_096
A_SECOND, AT_ONCE = 10.0, 30.0
SAY_SECONDS = 60.0


class Response(NamedTuple):
    topic: str
    payload: bytes
    correlation: bytes | None


class Commander:
    """`obey` takes a command's payload and returns the answer's; `answered` is called when there is one."""

    def __init__(
        self, obey: Callable[[bytes], bytes], topics: Topics, *, answered: Callable[[], None]
    ) -> None:
        self._obey, self._topics, self._answered = obey, topics, answered
        self._queue: queue.Queue[Incoming | None] = queue.Queue(LONGEST_QUEUE)
        self._answers: queue.Queue[Response] = queue.Queue(LONGEST_QUEUE)
        self._pace = Rate(A_SECOND, AT_ONCE)
        self._refused = _Minutely("%d commands were rejected, the last because %s")
        self._astray = _Minutely("%d command responses were lost or redirected: %s; see " + topics.response)

    def take(self, asked: Incoming) -> None:
        """Note a command; never waits."""
        if len(asked.payload) > LONGEST_COMMAND_BYTES:
            self._refused.say(f"it had more than {LONGEST_COMMAND_BYTES:,} bytes")
        elif not self._pace.allows():
            self._refused.say(f"more than {A_SECOND:.0f} came per second")
        else:
            try:
                self._queue.put_nowait(asked)
            except queue.Full:
                self._refused.say(f"{LONGEST_QUEUE} others are queued")

    def answers(self) -> Iterator[Response]:
        """Yield what waits to be published."""
        with suppress(queue.Empty):
            while True:
                yield self._answers.get_nowait()

    def stop(self) -> None:
        self._queue.put(None)

    def run(self) -> None:
        while (asked := self._queue.get()) is not None:
            answer = Response(self._topic(asked.response_topic), self._obey(asked.payload), asked.correlation)
            try:
                self._answers.put_nowait(answer)
            except queue.Full:
                self._astray.say("the broker accepts none at the moment")
            self._answered()

    def _topic(self, asked: str | None) -> str:
        if asked is None:
            return self._topics.response
        if not self._topics.may_answer_on(asked):
            self._astray.say(f"{asked!r:.80} is not allowed as a response topic")
            return self._topics.response
        return asked


class Rate:
    """For one thread: so many at once, and so many a second from then on."""

    def __init__(self, a_second: float, at_once: float) -> None:
        self._a_second, self._at_once = a_second, at_once
        self._left, self._at = at_once, time.monotonic()

    def allows(self) -> bool:
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * self._a_second, self._at_once)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class _Minutely:
    """Thread-safe. Says how often something happened, at once and then at most once a minute."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0
        self._said_at = -SAY_SECONDS
        self._lock = threading.Lock()

    def say(self, why: str) -> None:
        with self._lock:
            self._count += 1
            if time.monotonic() - self._said_at < SAY_SECONDS:
                return
            count, self._count, self._said_at = self._count, 0, time.monotonic()
        log.warning(self._text, count, why)
