"""The work on one connection: announce, publish what the outbox holds, move the mark as PUBACKs come in."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dropsight import crashpoints
from dropsight.config import Mqtt
from dropsight.errors import SinkError
from dropsight.service.outbox import Delivery, Outbox
from dropsight.service.troubles import REMIND_SECONDS
from dropsight.sinks import homeassistant
from dropsight.sinks.camerasession import Cameras, CameraSession
from dropsight.sinks.commands import Commander
from dropsight.sinks.connection import Asked, Connection
from dropsight.sinks.names import Name, Names
from dropsight.sinks.retiring import ONLINE, retire_former
from dropsight.sinks.topics import Topics

log = logging.getLogger(__name__)

BATCH = 64
ACKNOWLEDGE_SECONDS = 0.05
GOODBYE_SECONDS = 2.0
OFFLINE = b"offline"


@dataclass(frozen=True, slots=True)
class Announcements:
    """What is published besides records; `info` and `stats` are asked for when they are due."""

    info: Callable[[], bytes]
    stats: Callable[[], bytes]
    stats_seconds: float
    again: threading.Event = field(default_factory=threading.Event)
    """Set when `info` has changed: it is published at once, and the stats with it."""
    stats_now: threading.Event = field(default_factory=threading.Event)
    """Set when the stats have news that cannot wait for their time."""


@dataclass(slots=True)
class Ending:
    """Asked for from any thread: publish what is left until the deadline, then end."""

    asked: threading.Event = field(default_factory=threading.Event)
    deadline: float = float("inf")

    @property
    def is_over(self) -> bool:
        return self.asked.is_set() and time.monotonic() >= self.deadline

    def ask(self, *, drain_seconds: float) -> None:
        self.deadline = time.monotonic() + drain_seconds
        self.asked.set()


@dataclass(slots=True)
class Tally:
    """Since the start: records that the broker has, and records that were too large for it."""

    published: int = 0
    oversized: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """What the connections of one publisher have in common."""

    settings: Mqtt
    name: Name
    names: Names
    topics: Topics
    outbox: Outbox
    announcements: Announcements
    cameras: Cameras
    tally: Tally
    ending: Ending
    commander: Commander


class Session:
    """Records in flight stand in `_order`; a PUBACK settles one, and the mark follows in order."""

    def __init__(self, task: Task, connection: Connection) -> None:
        self._task, self._connection, self._topics = task, connection, task.topics
        self._acknowledged = self._read_upto = task.outbox.acknowledged()
        self._noted_at = 0.0
        self._waiting: deque[Delivery] = deque()
        self._order: deque[int] = deque()
        self._in_flight: dict[int, int] = {}
        self._settled: set[int] = set()
        self._next_stats = 0.0
        self._warned_at = -REMIND_SECONDS
        self._cameras = CameraSession(task.cameras, connection)

    def run(self) -> None:
        """Return when it is time to end; raises SinkError when the connection is lost."""
        self._announce()
        while not self._is_over():
            self._publish_records()
            self._cameras.publish()
            self._announce_changes()
            self._publish_stats()
            self._settle(self._connection.acknowledged(timeout=self._seconds_to_wait()))
        self._note()
        self._say_goodbye()

    def _is_over(self) -> bool:
        ending = self._task.ending
        if not ending.asked.is_set():
            return False
        outstanding = self._order or self._waiting or self._task.outbox.pending(self._read_upto, 1)
        return not outstanding or time.monotonic() >= ending.deadline

    def _announce(self) -> None:
        """Everything retained, again on every connection: brokers lose it."""
        task = self._task
        retire_former(self._connection, task.names, task.name, cameras=task.cameras.watch.names)
        task.names.add(task.name)
        self._listen()  # first: who hears that we are online may send a command at once
        self._connection.publish(self._topics.availability, ONLINE, qos=1, retain=True)
        self._connection.publish(self._topics.info, self._task.announcements.info(), qos=1, retain=True)
        self._cameras.announce()

    def _listen(self) -> None:
        commander, connection = self._task.commander, self._connection
        connection.listen(self._topics.command, lambda asked: commander.take(asked, connection))
        if self._task.settings.home_assistant:
            connection.listen(homeassistant.BIRTH_TOPIC, self._on_birth)

    def _on_birth(self, asked: Asked) -> None:
        if asked.payload == homeassistant.BIRTH:
            self._cameras.tell_entities_again()
            self._connection.wake()

    def _announce_changes(self) -> None:
        announcements = self._task.announcements
        if announcements.again.is_set():
            announcements.again.clear()
            self._connection.publish(self._topics.info, announcements.info(), qos=1, retain=True)
            self._next_stats = 0.0
        if announcements.stats_now.is_set():
            announcements.stats_now.clear()
            self._next_stats = 0.0

    def _publish_records(self) -> None:
        while len(self._order) < self._connection.window:
            if not self._waiting:
                self._waiting.extend(self._task.outbox.pending(self._read_upto, BATCH))
                if not self._waiting:
                    return
                self._read_upto = self._waiting[-1].seq
            self._publish(self._waiting.popleft())

    def _publish(self, delivery: Delivery) -> None:
        topic = self._topics.record(delivery.status, delivery.camera)
        self._order.append(delivery.seq)
        if not self._connection.takes(topic, delivery.line):
            self._task.tally.oversized += 1
            log.warning("record %d is larger than the broker takes: it stays in the log", delivery.seq)
            self._settled.add(delivery.seq)
            return
        settings = self._task.settings
        retain = settings.retain and delivery.status == "ok"
        mid = self._connection.publish(topic, delivery.line, qos=settings.qos, retain=retain)
        self._in_flight[mid] = delivery.seq
        crashpoints.reach("after_publish")

    def _settle(self, mids: Sequence[int]) -> None:
        """Raises SinkError where the broker takes no records of ours; the rest is not worth a stop."""
        self._cameras.settle(mids)
        for mid in mids:
            reason = self._connection.refused.pop(mid, None)
            if reason and mid in self._in_flight:
                raise SinkError(f"the broker does not take our records: {reason}")
            if reason and time.monotonic() - self._warned_at > REMIND_SECONDS:
                self._warned_at = time.monotonic()
                log.warning("the broker does not take an announcement: %s", reason)
        self._settled.update(self._in_flight.pop(mid) for mid in mids if mid in self._in_flight)
        while self._order and self._order[0] in self._settled:
            self._acknowledged = self._order.popleft()
            self._settled.discard(self._acknowledged)
            self._task.tally.published += 1
        if not self._order or time.monotonic() - self._noted_at >= ACKNOWLEDGE_SECONDS:
            self._note()

    def _note(self) -> None:
        self._noted_at = time.monotonic()
        if self._acknowledged > self._task.outbox.acknowledged():
            self._task.outbox.acknowledge(self._acknowledged)

    def _publish_stats(self) -> None:
        if time.monotonic() >= self._next_stats:
            announcements = self._task.announcements
            self._next_stats = time.monotonic() + announcements.stats_seconds
            self._connection.publish(self._topics.stats, announcements.stats(), qos=0, retain=True)

    def _seconds_to_wait(self) -> float:
        until = min(self._next_stats, self._task.ending.deadline) - time.monotonic()
        return min(until, self._cameras.seconds_to_next())

    def _say_goodbye(self) -> None:
        """Offline in our own words: a clean DISCONNECT makes the broker forget the last will."""
        self._cameras.publish_last()
        self._publish_last_stats()
        last = self._connection.publish(self._topics.availability, OFFLINE, qos=1, retain=True)
        deadline = time.monotonic() + GOODBYE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            if last in self._connection.acknowledged(timeout=left):
                return

    def _publish_last_stats(self) -> None:
        self._next_stats = 0.0
        self._publish_stats()
