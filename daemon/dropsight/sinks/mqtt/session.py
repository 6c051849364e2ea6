"""The work on one connection: publish the outbox, announce, move the mark as PUBACKs arrive."""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from dropsight import crashpoints
from dropsight.errors import SinkError
from dropsight.journal.outbox import Delivery
from dropsight.sinks.mqtt import homeassistant
from dropsight.sinks.mqtt.camera_session import SPARE_RECORD, CameraSession
from dropsight.sinks.mqtt.connection import Connection, Incoming
from dropsight.sinks.mqtt.event_session import EventSession
from dropsight.sinks.mqtt.publisher_parts import PublisherParts
from dropsight.sinks.mqtt.retiring import retire_former
from dropsight.sinks.mqtt.rivals import OFFLINE, ONLINE
from dropsight.sinks.mqtt.suspects import Flight
from dropsight.sinks.mqtt.telling import Teller, fitted
from dropsight.status.troubles import REMIND_SECONDS

log = logging.getLogger(__name__)

BATCH = 64
ACKNOWLEDGE_SECONDS = 0.05
GOODBYE_SECONDS = 2.0
# Stats that tell of work are told again once it is done, but not sooner.
CALM_SECONDS = 1.0
RECORDS = "records"
# What goes without saying where a broker takes only short messages, the least needed first.
SPARE_INFO = ("labels", "heads", "config", "model")
SPARE_STATS = (
    "followers",
    "classes",
    "events",
    "cameras",
    "problems",
    "errors",
    "folders",
    "images_per_second",
    "troubles",
    "latency_ms",
)


class NotTakenError(SinkError):
    """The broker says of a record that it does not take it, and why."""


class Session:
    """Records in flight stand in `_order`; a PUBACK settles one, and the mark follows in order.

    Records go first: what is announced must not keep them from a broker that hangs up on it.
    """

    def __init__(self, task: PublisherParts, connection: Connection) -> None:
        self._task, self._connection, self._topics = task, connection, task.topics
        self._acknowledged = self._read_upto = task.outbox.acknowledged()
        self._noted_at = 0.0
        self._waiting: deque[Delivery] = deque()
        self._order: deque[int] = deque()
        self._settled: set[int] = set()
        self._next_stats = self._calm_at = 0.0
        self._told_busy = False
        self._warned_at = -REMIND_SECONDS
        self._flight = Flight(task.suspects)
        self._teller = Teller(connection, task.topics, self._flight, task.untold, settle=self._settle)
        self._cameras = CameraSession(task.cameras, self._teller)
        self._events = EventSession(task.events, self._teller)
        self._suspected_upto = task.suspects.last_record(self._acknowledged)
        self._passed = self._works = False

    def run(self) -> None:
        """Return when it is time to end; raises SinkError when the connection is lost."""
        try:
            self._work()
        except NotTakenError:
            raise
        except SinkError:
            with contextlib.suppress(SinkError):
                self._settle(self._connection.heard())
            self._look_for_the_cause()
            raise

    def _look_for_the_cause(self) -> None:
        rivals, evictions = self._task.rivals, self._task.evictions
        hung_up = self._connection.was_hung_up()
        was_told = self._connection.taken_over
        if hung_up or was_told:
            evictions.lost(was_told=was_told, idle=not self._flight)
        if hung_up and not (rivals.are_heard or evictions.suspected):
            self._blame()

    def _work(self) -> None:
        self._publish_first()
        if not self._is_over():
            self._announce()
        while not self._is_over():
            self._publish_records()
            self._events.publish()
            self._cameras.publish()
            self._announce_changes()
            self._answer_rivals()
            self._look_whether_all_is_done()
            self._publish_answers()
            self._publish_stats()
            self._look_whether_it_works()
            self._settle(self._connection.acknowledged(timeout=self._seconds_to_wait()))
        self._note()
        self._say_goodbye()

    def _publish_first(self) -> None:
        """Until one record is through, and each that a connection may have been lost over, alone."""
        while not self._is_over():
            self._publish_records()
            if not self._order or (self._passed and self._order[0] > self._suspected_upto):
                return
            timeout = min(self._task.ending.deadline - time.monotonic(), REMIND_SECONDS)
            self._settle(self._connection.acknowledged(timeout=timeout))

    def _look_whether_it_works(self) -> None:
        """Call what was wrong over once a record is through, or all that was announced."""
        if not self._works and (self._passed or not self._flight):
            self._works = self._task.works()

    def _blame(self) -> None:
        for key in self._flight.lost():
            if isinstance(key, int):
                fault = f"record {key} is set aside (in the log, not on MQTT): the broker disconnected on it"
                self._task.troubles.raised(RECORDS, SinkError(fault))
            else:
                log.warning("the broker disconnects on %s: set aside", key)
        self._task.untold.say()

    def _is_over(self) -> bool:
        ending = self._task.ending
        if not ending.asked.is_set():
            return False
        outstanding = self._order or self._waiting or self._task.outbox.pending(self._read_upto, 1)
        return not outstanding or time.monotonic() >= ending.deadline

    def _announce(self) -> None:
        """Everything retained, again on every connection: brokers lose it."""
        task = self._task
        cameras, discovery = task.cameras.watch.names, task.cameras.discovery
        for name in retire_former(
            self._connection, task.names, task.name, cameras=cameras, events=task.events.names.known()
        ):
            discovery.retired(name, cameras)
        task.names.add(task.name)
        self._teller.listen(self._topics.command, task.commander.take)  # first: who hears that we are online
        if discovery.concerns:  # who may send a command at once
            for topic in homeassistant.birth_topics(self._topics.discovery):
                self._teller.listen(topic, self._on_birth)
        self._teller.tell(self._topics.availability, ONLINE)
        # From here on, so that nothing escapes us between what the broker keeps and what comes.
        self._teller.listen(self._topics.availability, task.rivals.hear_availability, retained=True)
        had_spoken = task.rivals.has_spoken
        if had_spoken:  # then another's is from while we were away
            self._teller.listen(self._topics.info, task.rivals.hear_info, retained=True)
        self._publish_info()
        if not had_spoken:
            self._teller.listen(self._topics.info, task.rivals.hear_info, retained=True)
        self._cameras.announce()
        self._events.announce()

    def _answer_rivals(self) -> None:
        rivals = self._task.rivals
        if rivals.contradicted.is_set():
            rivals.contradicted.clear()
            self._teller.tell(self._topics.availability, ONLINE)
        if rivals.due():
            self._publish_info()

    def _on_birth(self, asked: Incoming) -> None:
        if asked.payload == homeassistant.BIRTH:
            self._task.cameras.discovery.on_birth()
            self._cameras.tell_entities_again()
            self._connection.wake()

    def _announce_changes(self) -> None:
        announcements = self._task.announcements
        if announcements.again.is_set():
            announcements.again.clear()
            self._publish_info()
            self._next_stats = 0.0
        if announcements.stats_now.is_set():
            announcements.stats_now.clear()
            self._next_stats = 0.0

    def _publish_info(self) -> None:
        self._teller.tell(self._topics.info, self._task.rivals.info(), spare=SPARE_INFO)

    def _publish_answers(self) -> None:
        for topic, payload, correlation in self._task.commander.answers():
            self._teller.tell(topic, payload, retain=False, correlation=correlation)

    def _publish_records(self) -> None:
        while len(self._flight) < self._connection.offers.window:
            if not self._waiting:
                self._waiting.extend(self._task.outbox.pending(self._read_upto, BATCH))
                if not self._waiting:
                    return
                self._read_upto = self._waiting[-1].seq
            first = self._order[0] if self._order else self._waiting[0].seq
            if first <= self._suspected_upto and self._flight:
                return
            self._publish(self._waiting.popleft())

    def _publish(self, delivery: Delivery) -> None:
        self._order.append(delivery.seq)
        if self._task.suspects.is_aside(delivery.seq):
            self._task.tally.set_aside += 1
            self._skip(delivery.seq)
            return
        settings, is_event = self._task.settings, delivery.status == "event"
        topic, line = self._events.of(delivery) if is_event else self._record(delivery)
        retain = settings.retain and delivery.status == "ok"
        room = self._connection.offers.room(topic)
        fitting = line if room is None else fitted(line, room, SPARE_RECORD)
        mid = None
        if fitting is not None:
            qos = 1 if is_event else settings.qos
            with self._flight.departing(delivery.seq):
                mid = self._connection.publish(topic, fitting, qos=qos, retain=retain)
        if mid is None:
            self._task.tally.oversized += 1
            fault = f"record {delivery.seq} is larger than the broker accepts (in the log, not on MQTT)"
            self._task.troubles.raised(RECORDS, SinkError(fault))
            self._skip(delivery.seq)
            return
        self._flight.began(mid, delivery.seq)
        crashpoints.reach("after_publish")

    def _record(self, delivery: Delivery) -> tuple[str, bytes]:
        return self._topics.record(delivery.status, delivery.camera), delivery.line

    def _skip(self, seq: int) -> None:
        self._settled.add(seq)
        if self._order[0] == seq:
            self._move_on()

    def _settle(self, mids: Sequence[int]) -> None:
        """Raises SinkError where the broker takes no records of ours; the rest is not worth a stop."""
        self._cameras.settle(mids)
        self._events.settle(mids)
        landed = self._flight.ended(mids, refused=self._connection.refused)
        for mid, key in landed.items():
            reason = self._connection.refused.pop(mid, None)
            if reason and isinstance(key, int):
                self._refuse(key, reason)
            if reason and time.monotonic() - self._warned_at > REMIND_SECONDS:
                self._warned_at = time.monotonic()
                log.warning("the broker rejected an announcement: %s: %s", key, reason)
        records = [key for key in landed.values() if isinstance(key, int)]
        if records:
            self._passed = True
            self._task.troubles.cleared(RECORDS)
            self._task.tally.published += len(records)
            self._settled.update(records)
        self._move_on()

    def _refuse(self, seq: int, reason: str) -> None:
        """A no counts as a hanging up, which some brokers do after it; raises SinkError."""
        if self._task.suspects.lost([seq]):
            fault = f"record {seq} is set aside (in the log, not on MQTT): the broker rejected it: {reason}"
            self._task.troubles.raised(RECORDS, SinkError(fault))
        raise NotTakenError(f"the broker rejects our records: {reason}")

    def _move_on(self) -> None:
        while self._order and self._order[0] in self._settled:
            self._acknowledged = self._order.popleft()
            self._settled.discard(self._acknowledged)
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
            self._calm_at = time.monotonic() + CALM_SECONDS
            stats = announcements.stats()
            self._told_busy = _tells_of_work(stats)
            self._teller.tell(self._topics.stats, stats, qos=0, spare=SPARE_STATS)

    def _look_whether_all_is_done(self) -> None:
        """What waited when stats were told is told to be done at once, not only when they are due again."""
        if self._told_busy and self._is_calm():
            self._next_stats = min(self._next_stats, self._calm_at)

    def _is_calm(self) -> bool:
        return not (self._order or self._waiting or self._task.announcements.busy())

    def _seconds_to_wait(self) -> float:
        until = min(self._next_stats, self._task.ending.deadline) - time.monotonic()
        if not self._works:
            until = min(until, self._task.evictions.seconds_to_last() or until)
        others = (self._cameras, self._events, self._task.rivals)
        return min(until, *(each.seconds_to_next() for each in others))

    def _say_goodbye(self) -> None:
        """Offline in our own words: a clean DISCONNECT makes the broker forget the last will."""
        self._publish_answers()
        self._events.publish_last()
        self._cameras.publish_last()
        self._next_stats = 0.0
        self._publish_stats()
        last = self._teller.tell(self._topics.availability, OFFLINE)
        deadline = time.monotonic() + GOODBYE_SECONDS
        while last is not None and last in self._flight and (left := deadline - time.monotonic()) > 0:
            self._settle(self._connection.acknowledged(timeout=left))


def _tells_of_work(stats: bytes) -> bool:
    found = msgspec.json.decode(stats)
    return bool(found["counters"]["waiting"] or found["queues"]["outbox"])
