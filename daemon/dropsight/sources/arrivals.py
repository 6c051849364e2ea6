"""Images that arrive over MQTT: each is in its inbox, durably, before it is acknowledged."""

import hashlib
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import get_args

from paho.mqtt.reasoncodes import ReasonCode

from dropsight import crashpoints
from dropsight.config import Config, Mqtt
from dropsight.config.filters import levels
from dropsight.errors import ConfigError, SinkError, StoreError, reason
from dropsight.intake.folder import DropFolder
from dropsight.intake.landing import Landing, Reason, UnwelcomeError
from dropsight.intake.source import SourceStatus
from dropsight.names import as_text
from dropsight.sinks.backoff import pause_seconds
from dropsight.sinks.mqtt.broker import Broker
from dropsight.sinks.mqtt.connecting import protocols
from dropsight.sinks.mqtt.connection import Protocol, UnsupportedVersionError
from dropsight.sinks.mqtt.identity import own_id
from dropsight.sources.inflow import Arrival, Inflow
from dropsight.sources.subscriptions import Subscriptions
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import REMIND_SECONDS, Troubles

log = logging.getLogger(__name__)

NAME, PART = "arrivals", "arrivals"
REASONS: tuple[Reason, ...] = get_args(Reason)
# Beside the publisher, whose session is another.
SUFFIX = "-images"
IDLE_SECONDS, GOOD_SECONDS = 60.0, 60.0
# Where the broker lets us in, and refuses what we ask for.
ASK_AGAIN_SECONDS = 60.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0
MOST_TOPICS = 4_096


def make(config: Config, folders: Sequence[DropFolder], state: Path, troubles: Troubles) -> "MqttSource":
    """Make the one source of all entries of `watch` that have `mqtt`; raises ConfigError."""
    if config.mqtt is None:
        raise ConfigError(["watch[].mqtt: arrives by the broker of the mqtt section, which is null"])
    inboxes = {folder.settings.mqtt or "": Landing(folder) for folder in folders}
    return MqttSource(
        config.mqtt, inboxes, most_bytes=config.limits.max_bytes, state=state, troubles=troubles
    )


class MqttSource:
    """At least once: what was not acknowledged when a side died comes again, under another name."""

    def __init__(
        self,
        settings: Mqtt,
        inboxes: Mapping[str, Landing],
        *,
        most_bytes: int,
        state: Path,
        troubles: Troubles,
    ) -> None:
        self.heartbeats = Heartbeats()
        self._settings, self._inboxes, self._most_bytes = settings, inboxes, most_bytes
        self._broker = Broker.of(settings)
        self._client_id = f"{own_id(settings, state)}{SUFFIX}"
        self._subscriptions = Subscriptions(state, self._client_id)
        self._troubles = troubles
        self._faults: dict[str, str] = {}
        self._stopped = threading.Event()
        self._inflow: Inflow | None = None
        self._protocol: Protocol | None = None  # known once a connection was made
        self._received = 0
        self._refused: Counter[str] = Counter()
        self._warned: dict[str, float] = {}
        self._taken: dict[str, bytes] = {}
        self._ask_at = 0.0

    @property
    def name(self) -> str:
        return NAME

    def start(self, supervision: Supervision) -> threading.Thread:
        return supervision.start(self.name, self.run)  # which may be about to connect when all ends

    def stop(self) -> None:
        self._stopped.set()
        if (inflow := self._inflow) is not None:
            inflow.wake()

    def status(self) -> SourceStatus:
        return SourceStatus(
            name="mqtt",
            place=f"{self._broker.shown}, {', '.join(self._inboxes)}",
            connected=self._inflow is not None,
            received=self._received,
            refused={reason: self._refused[reason] for reason in REASONS},
            trouble="; ".join(self._faults.values()) or None,
        )

    def run(self) -> None:
        """Take in until stopped, over any number of connections."""
        chance, failures = random.Random(), 0  # noqa: S311 - jitter
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                self._serve()
            except (ConfigError, SinkError) as error:
                self._fault("connection", f"no images arrive over MQTT: {error}")
            failures = 1 if time.monotonic() - began > GOOD_SECONDS else failures + 1
            self._stopped.wait(pause_seconds(failures, chance))

    def _serve(self) -> None:
        """Return when stopped; raises SinkError when there is no connection, or no longer one."""
        inflow = self._connect()
        try:
            log.info("images over MQTT: connected to %s (MQTT %s)", self._broker.shown, self._protocol)
            self._fault("connection", None)
            self._begin(inflow)
            self._inflow = inflow
            while not self._stopped.is_set():
                self._take_next(inflow)
        finally:
            self._inflow = None
            inflow.close()

    def _take_next(self, inflow: Inflow) -> None:
        arrival = inflow.next(timeout=min(max(self._ask_at - time.monotonic(), 0.0), IDLE_SECONDS))
        self._hear(inflow)
        if arrival is not None and self._take(arrival, inflow):
            crashpoints.reach("before_arrival_ack")
            inflow.acknowledge(arrival)
            crashpoints.reach("after_arrival_ack")

    def _connect(self) -> Inflow:
        """Connect by the first version of MQTT that the broker speaks; the password is read anew."""
        self._broker = Broker.of(self._settings)
        spoken = (self._protocol,) if self._protocol else protocols(self._settings.protocol)
        for protocol in spoken:
            inflow = Inflow(
                self._broker,
                protocol,
                client_id=self._client_id,
                keepalive=self._settings.keepalive,
                most_bytes=self._most_bytes,
                lasting=True,
            )
            try:
                inflow.open()
            except UnsupportedVersionError:
                if protocol == spoken[-1]:
                    raise
            else:
                self._protocol = protocol
                return inflow
        raise SinkError("no MQTT version left to try")

    def _begin(self, inflow: Inflow) -> None:
        """Ask for what this session does not have yet: then the broker sends what it retained, too.

        In MQTT 5, ask for all: what a broker has of our session may be of another time, or another's work.
        """
        if not inflow.had_session:
            self._subscriptions.forget()
        for topics in self._subscriptions.had - self._inboxes.keys():
            inflow.unsubscribe(topics)
            self._subscriptions.remove(topics)
        self._ask(inflow, set() if inflow.asks_anew else self._subscriptions.had)

    def _ask(self, inflow: Inflow, had: Collection[str]) -> None:
        wanted = self._inboxes.keys() - set(had)
        for topics in sorted(wanted):
            inflow.subscribe(topics)
        self._ask_at = time.monotonic() + ASK_AGAIN_SECONDS if wanted else float("inf")

    def _hear(self, inflow: Inflow) -> None:
        """Take note of what the broker says to what was asked for; ask again where it refused."""
        for topics, code in inflow.answers():
            self._fault(f"subscription to {topics}", self._answer(topics, code))
        if time.monotonic() >= self._ask_at:
            self._ask(inflow, self._subscriptions.had)

    def _answer(self, topics: str, code: ReasonCode) -> str | None:
        """Return what is wrong with the answer, if anything is."""
        if code.is_failure:
            self._subscriptions.remove(topics)
            return f"{self._broker.shown} denied the subscription to {topics}: {code}; see its access rules"
        self._subscriptions.add(topics)
        log.info("images over MQTT: subscribed to %s (QoS %d)", topics, code.value)
        if code.value == 0:
            log.warning(
                "%s sends %s at QoS 0, without acknowledgement: images may be lost on the way",
                self._broker.shown,
                topics,
            )
        return None

    def _take(self, arrival: Arrival, inflow: Inflow) -> bool:
        """Return whether it may be acknowledged: it is in the inbox by now, or never will be."""
        try:
            inbox, names = self._place(arrival)
        except UnwelcomeError as error:
            return self._refuse(error)
        mark = hashlib.blake2b(arrival.payload, digest_size=16).digest()
        known = self._taken.get(arrival.topic or "") == mark
        if not arrival.payload or (known and (arrival.again or arrival.retained)):
            return True
        pause = FIRST_PAUSE_SECONDS
        while not self._stopped.is_set() and not (arrival.qos and inflow.is_lost):
            try:
                with self.heartbeats.at_work(self.name):
                    inbox.land(names, arrival.payload)
            except UnwelcomeError as error:
                return self._refuse(error)
            except OSError as error:
                self._fault("inbox", f"{as_text(inbox.root)} cannot be written: {reason(error)}; images wait")
            else:
                self._note(arrival.topic or "", mark)
                return True
            self._stopped.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return False

    def _place(self, arrival: Arrival) -> tuple[Landing, Sequence[str]]:
        if arrival.size > self._most_bytes:
            text = f"{arrival.size:,} bytes on {arrival.topic} are more than limits.max_bytes"
            raise UnwelcomeError("too_large", text)
        for topics, inbox in self._inboxes.items():
            if arrival.topic is not None and (names := levels(topics, arrival.topic)) is not None:
                return inbox, names
        raise UnwelcomeError("no_folder", f"a message on {arrival.topic}, to which nothing subscribed")

    def _note(self, topic: str, mark: bytes) -> None:
        self._fault("inbox", None)
        self._received += 1
        if len(self._taken) >= MOST_TOPICS:
            self._taken.clear()
        self._taken[topic] = mark

    def _refuse(self, error: UnwelcomeError) -> bool:
        self._refused[error.reason] += 1
        now = time.monotonic()
        if now - self._warned.get(error.reason, -REMIND_SECONDS) >= REMIND_SECONDS:
            self._warned[error.reason] = now
            count = self._refused[error.reason]
            log.warning("images over MQTT: refused: %s (%d so far)", as_text(str(error)), count)
        return True

    def _fault(self, what: str, text: str | None) -> None:
        if text is None:
            self._faults.pop(what, None)
        else:
            self._faults[what] = text
        if self._faults:
            self._troubles.raised(PART, StoreError("; ".join(self._faults.values())))
        else:
            self._troubles.cleared(PART)
