"""One session with the broker, whose images go into one inbox: each is durable before it is acknowledged."""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from paho.mqtt.reasoncodes import ReasonCode

from dropsight import crashpoints
from dropsight.config import Mqtt
from dropsight.config.filters import levels
from dropsight.errors import ConfigError, SinkError, reason
from dropsight.intake.landing import Landing, Reason, UnwelcomeError
from dropsight.names import as_text
from dropsight.sinks.backoff import pause_seconds
from dropsight.sinks.mqtt.broker import Broker, Protocol
from dropsight.sinks.mqtt.connecting import by_version, protocols
from dropsight.sinks.mqtt.refusals import may_be_another
from dropsight.sources.image_connection import SESSION_SECONDS, Arrival, ImageConnection, MessageMemory
from dropsight.sources.subscriptions import Subscription
from dropsight.sources.taken import TakenPictures
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.troubles import REMIND_SECONDS

log = logging.getLogger(__name__)

REASONS: tuple[Reason, ...] = get_args(Reason)
IDLE_SECONDS, GOOD_SECONDS = 60.0, 60.0
# Where the broker lets us in, and refuses what we ask for.
ASK_AGAIN_SECONDS = 60.0
PAUSE_SECONDS = 0.5
# So long an image that cannot be written is kept in memory; then the broker is to send it again.
HELD_SECONDS, LOOK_SECONDS = 2.0, 10.0
HEIR_SECONDS = 60.0
Fault = Callable[[str, str | None], None]
"""Says what is wrong with something, or None where nothing is any more. From any thread."""


class InboxError(SinkError):
    """So many bytes that were sent cannot be written."""

    def __init__(self, text: str, size: int) -> None:
        super().__init__(text)
        self.size = size


class ImageSession:
    """At least once: what was not acknowledged when a side died comes again, under another name.

    An inbox that cannot be written to holds up its own session, and no other.
    """

    def __init__(
        self,
        settings: Mqtt,
        topics: str,
        inbox: Landing,
        *,
        client_id: str,
        room: MessageMemory,
        state: Path,
        heartbeats: Heartbeats,
        fault: Fault,
    ) -> None:
        self.name, self.topics = client_id, topics
        self._settings, self._inbox = settings, inbox
        self._most_bytes, self._room = room.most_bytes, room
        self._broker = Broker.of(settings)
        self.subscription = Subscription(state, client_id, topics)
        self._heartbeats, self._tell = heartbeats, fault
        self._stopped = threading.Event()
        self._connection: ImageConnection | None = None
        self._protocol: Protocol | None = None  # known once a connection was made
        self.received = 0
        self.refused: Counter[str] = Counter()
        self._warned: dict[str, float] = {}
        self._taken, self._state = TakenPictures(state, client_id), state
        self._taking = threading.Lock()
        self._heir_until = 0.0
        self._ask_at = 0.0
        self._is_answered = False
        self._kept_seconds = SESSION_SECONDS

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def stop(self) -> None:
        self._stopped.set()
        if (connection := self._connection) is not None:
            connection.wake()

    def inherit(self, client_id: str) -> None:
        """Before `run`: another session may hand over what both of them get, in whichever order."""
        self._taken.inherit(self._state, client_id)
        self._heir_until = float("inf")

    def is_heir_no_more(self) -> None:
        """Of what both have got, our broker may still send us the rest."""
        self._heir_until = time.monotonic() + HEIR_SECONDS

    def run(self) -> None:
        """Take in until stopped, over any number of connections."""
        chance, failures = random.Random(), 0  # noqa: S311 - jitter
        while not self._stopped.is_set():
            began, missing = time.monotonic(), None
            try:
                self._serve()
            except InboxError as error:
                missing = error.size  # the error has all that was in hand, and is to go before the wait
            except (ConfigError, SinkError) as error:
                self._fault("connection", f"no images arrive over MQTT: {error}")
            if missing is not None:
                self._look_for_room(missing)
                continue
            failures = 1 if time.monotonic() - began > GOOD_SECONDS else failures + 1
            self._stopped.wait(pause_seconds(failures, chance))

    def _serve(self) -> None:
        """Return when stopped; raises SinkError when there is no connection, or no longer one."""
        connection = self._connect()
        try:
            log.info("images over MQTT: connected to %s (MQTT %s)", self._broker.shown, self._protocol)
            self._fault("connection", None)
            self._say_what_is_kept(connection.kept_seconds)
            self._begin(connection)
            self._connection = connection
            while not self._stopped.is_set():
                self._take_next(connection)
        finally:
            self._connection = None
            connection.close()

    def _say_what_is_kept(self, seconds: int) -> None:
        """Of what a broker throws away while we are elsewhere, nobody else would hear."""
        if seconds < SESSION_SECONDS and seconds != self._kept_seconds:
            log.warning(
                "images over MQTT: %s keeps %s for %d s while nobody is connected: what comes later is lost",
                self._broker.shown,
                self.topics,
                seconds,
            )
        self._kept_seconds = seconds

    def _take_next(self, connection: ImageConnection) -> None:
        arrival = connection.next(timeout=min(max(self._ask_at - time.monotonic(), 0.0), IDLE_SECONDS))
        self._hear(connection)
        if arrival is not None and self.take(arrival, connection):
            crashpoints.reach("before_arrival_ack")
            connection.acknowledge(arrival)
            crashpoints.reach("after_arrival_ack")

    def _connect(self) -> ImageConnection:
        """Connect by the first version of MQTT that the broker speaks; the password is read anew."""
        with suppress(ConfigError):  # of files that are just being renewed, the former content serves
            self._broker = Broker.of(self._settings)
        spoken = (self._protocol,) if self._protocol else protocols(self._settings.protocol)

        def attempt(protocol: Protocol) -> ImageConnection:
            connection = ImageConnection(
                self._broker,
                protocol,
                client_id=self.name,
                keepalive=self._settings.keepalive,
                room=self._room,
                lasting=True,
            )
            connection.open()
            if not connection.had_session:  # the next one of this name has that of this one
                self.subscription.lost()
            return connection

        try:
            connection, self._protocol = by_version(spoken, attempt)
        except SinkError as error:
            if may_be_another(error):
                self._protocol = None
            raise
        return connection

    def _begin(self, connection: ImageConnection) -> None:
        """Ask for what this session does not have yet: then the broker sends what it retained, too.

        In MQTT 5, ask always: what a broker has of our session may be of another time, or another's work.
        """
        self._is_answered = False
        self._ask(connection, had=self.subscription.had and not connection.asks_anew)

    def _ask(self, connection: ImageConnection, *, had: bool) -> None:
        if not had:
            connection.subscribe(self.topics)
        self._ask_at = float("inf") if had else time.monotonic() + ASK_AGAIN_SECONDS

    def _hear(self, connection: ImageConnection) -> None:
        """Note what the broker says to what was asked for; ask again where it refused, or was silent."""
        for code in connection.answers():
            self._is_answered = True
            self._fault("subscription", self._answer(code))
        if time.monotonic() >= self._ask_at:
            if not self._is_answered:
                self._fault("subscription", self._unanswered())
            self._ask(connection, had=self.subscription.had)

    def _unanswered(self) -> str:
        seconds = f"{ASK_AGAIN_SECONDS:.0f} s"
        return f"{self._broker.shown} has not answered the subscription to {self.topics} for {seconds}"

    def _answer(self, code: ReasonCode) -> str | None:
        """Return what is wrong with the answer, if anything is."""
        topics, shown = self.topics, self._broker.shown
        if code.is_failure:
            self.subscription.lost()
            return f"{shown} denied the subscription to {topics}: {code}; see its access rules"
        self.subscription.made()
        log.info("images over MQTT: subscribed to %s (QoS %d)", topics, code.value)
        if code.value == 0:
            log.warning(
                "%s sends %s at QoS 0, without acknowledgement: images may be lost on the way", shown, topics
            )
        return None

    def take(self, arrival: Arrival, connection: ImageConnection) -> bool:
        """Return whether it may be acknowledged: it is in the inbox by now, or never will be.

        From any thread; raises InboxError.
        """
        with self._taking:
            return self._take(arrival, connection)

    def _take(self, arrival: Arrival, connection: ImageConnection) -> bool:
        try:
            names = self._place(arrival)
        except UnwelcomeError as error:
            return self._refuse(error)
        topic = arrival.topic or ""  # without one, there was no place
        if not arrival.payload or self._is_known(arrival, topic):
            return True
        deadline = time.monotonic() + HELD_SECONDS
        while not self._stopped.is_set() and not (arrival.qos and connection.is_lost):
            try:
                with self._heartbeats.at_work(self.name):
                    self._inbox.land(names, arrival.payload)
            except UnwelcomeError as error:
                return self._refuse(error)
            except OSError as error:
                self._wait(error, len(arrival.payload), deadline)
            else:
                self._taken.note(topic, arrival.payload)
                self._fault("inbox", None)
                self.received += 1
                return True
        return False

    def _wait(self, error: OSError, size: int, deadline: float) -> None:
        """For the inbox; raises InboxError once others are to have the memory that the image takes."""
        text = f"{as_text(self._inbox.root)} cannot be written: {reason(error)}; images wait"
        self._fault("inbox", text)
        if time.monotonic() >= deadline:
            raise InboxError(text, size)
        self._stopped.wait(PAUSE_SECONDS)

    def _look_for_room(self, size: int) -> None:
        """Stay away from the broker for as long as it is known to be of no use."""
        while not self._stopped.wait(LOOK_SECONDS):
            with suppress(OSError):
                self._inbox.look_for_room(size)
                return

    def _place(self, arrival: Arrival) -> Sequence[str]:
        if arrival.size > self._most_bytes:
            text = f"{arrival.size:,} bytes on {arrival.topic} are more than limits.max_bytes"
            raise UnwelcomeError("too_large", text)
        if arrival.topic is None or (names := levels(self.topics, arrival.topic)) is None:
            raise UnwelcomeError("no_folder", f"a message on {arrival.topic}, to which nothing subscribed")
        return names

    def _is_known(self, arrival: Arrival, topic: str) -> bool:
        """Whether it is one that we had, and the broker has not heard so, or keeps it."""
        may_be = arrival.again or time.monotonic() < self._heir_until
        if may_be and self._taken.has(topic, arrival.payload):
            return True
        return arrival.retained and self._taken.ends_with(topic, arrival.payload)

    def _refuse(self, error: UnwelcomeError) -> bool:
        self.refused[error.reason] += 1
        now = time.monotonic()
        if now - self._warned.get(error.reason, -REMIND_SECONDS) >= REMIND_SECONDS:
            self._warned[error.reason] = now
            count = self.refused[error.reason]
            log.warning("images over MQTT: refused: %s (%d so far)", as_text(str(error)), count)
        return True

    def _fault(self, what: str, text: str | None) -> None:
        self._tell(f"{what} of {self.topics}", text)
