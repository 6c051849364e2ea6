"""The work on one connection: publish records, announce, answer, tell of cameras and events."""

import contextlib
import logging
import time
from collections.abc import Sequence

import msgspec

from dropsight.errors import SinkError
from dropsight.sinks.announcements import GOODBYE_SECONDS
from dropsight.sinks.mqtt import homeassistant
from dropsight.sinks.mqtt.announcing import Announcer
from dropsight.sinks.mqtt.camera_session import CameraSession
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.event_session import EventSession
from dropsight.sinks.mqtt.in_flight import InFlight
from dropsight.sinks.mqtt.incoming import Incoming
from dropsight.sinks.mqtt.publisher_parts import PublisherParts
from dropsight.sinks.mqtt.record_session import NotTakenError, RecordSession
from dropsight.sinks.mqtt.retiring import retire_former
from dropsight.sinks.mqtt.rivals import OFFLINE, ONLINE
from dropsight.status.troubles import REMIND_SECONDS

log = logging.getLogger(__name__)

# Stats that tell of work are told again once it is done, but not sooner.
CALM_SECONDS = 1.0
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


class Session:
    """Records go first: what is announced must not keep them from a broker that hangs up on it."""

    def __init__(self, parts: PublisherParts, connection: Connection) -> None:
        self._parts, self._connection, self._topics = parts, connection, parts.topics
        self._next_stats = self._calm_at = 0.0
        self._told_busy = False
        self._warned_at = -REMIND_SECONDS
        self._flight = InFlight(parts.suspects, reliable=connection.tells_refusals)
        self._announcer = Announcer(
            connection,
            self._flight,
            parts.untold,
            settle=self._settle,
            give_way=self._give_way,
            seconds_left=self._seconds_left,
        )
        self._cameras = CameraSession(parts.cameras, self._announcer)
        self._events = EventSession(parts.events, self._announcer)
        self._records = RecordSession(parts, connection, self._flight, self._events)
        self._works = False
        self._leaves_at = float("inf")

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
        finally:
            self._records.note()
            self._parts.outbox.let_go()

    def _look_for_the_cause(self) -> None:
        self._flight.waited()
        rivals, evictions = self._parts.rivals, self._parts.evictions
        hung_up = self._connection.was_hung_up()
        was_told = self._connection.taken_over
        if hung_up or was_told:
            evictions.lost(was_told=was_told, idle=self._flight.is_idle)
        if hung_up and not (rivals.are_heard or evictions.suspected):
            self._blame()

    def _work(self) -> None:
        self._publish_first()
        if not self._is_over():
            self._announce()
        while not self._is_over():
            if self._flight.release():
                self._announce_again()
            self._publish_records()
            self._connection.send()  # a picture may take its time
            self._events.publish()
            self._cameras.publish()
            self._announce_changes()
            self._answer_rivals()
            self._look_whether_all_is_done()
            self._publish_answers()
            self._publish_stats()
            self._look_whether_it_works()
            self._settle(self._connection.acknowledged(timeout=self._seconds_to_wait()))
        self._records.note()
        self._say_goodbye()

    def _publish_records(self) -> None:
        if self._records.have_suspects:
            self._publish_first()
        else:
            self._records.publish()

    def _publish_first(self) -> None:
        """Until one record is through, and each that a connection may have been lost over, alone."""
        while not self._is_over():
            self._records.publish()
            if self._records.need_not_be_alone:
                return
            until_end = self._parts.ending.deadline - time.monotonic()
            timeout = min(until_end, REMIND_SECONDS, self._records.seconds_to_look())
            timeout = min(timeout, self._records.seconds_to_calm or timeout)
            self._settle(self._connection.acknowledged(timeout=timeout))

    def _look_whether_it_works(self) -> None:
        """Call what was wrong over once a record is through, or all that was announced."""
        if not self._works and (self._records.passed or not (self._flight or self._flight.holds_any)):
            self._works = self._parts.works()

    def _blame(self) -> None:
        self._records.doubt_the_last()
        for key in self._flight.lost():
            if isinstance(key, int):
                self._records.set_aside(key, "the broker disconnected on it")
            else:
                log.warning("the broker disconnects when it is sent %s: skipped from now on", key)
        self._parts.untold.say()

    def _is_over(self) -> bool:
        ending = self._parts.ending
        if not ending.asked.is_set():
            return False
        return not self._records.are_outstanding() or time.monotonic() >= ending.deadline

    def _give_way(self) -> bool:
        return self._records.publish_one()

    def _seconds_left(self) -> float:
        """For so long something may be waited for; there is a little time for all that is said at the end."""
        if not self._is_over():
            return self._parts.ending.deadline - time.monotonic()
        self._leaves_at = min(self._leaves_at, time.monotonic() + GOODBYE_SECONDS)
        return self._leaves_at - time.monotonic()

    def _announce(self) -> None:
        """Everything retained, again on every connection: brokers lose it."""
        parts = self._parts
        cameras, discovery = parts.cameras.watch.names, parts.cameras.discovery
        if former := parts.names.former(parts.name):
            self._announcer.let_all_land()  # who retires hears of its own messages alone
            events = parts.events.names.known()
            for name in retire_former(
                self._connection, parts.names, former, parts.name, cameras=cameras, events=events
            ):
                discovery.retired(name, cameras)
        parts.names.add(parts.name)
        self._announcer.listen(
            self._topics.command, parts.commander.take
        )  # first: who hears that we are online
        if discovery.concerns:  # who may send a command at once
            for topic in homeassistant.birth_topics(self._topics.discovery):
                self._announcer.listen(topic, self._on_birth)
        self._announcer.tell(self._topics.availability, ONLINE)
        # From here on, so that nothing escapes us between what the broker keeps and what comes.
        self._announcer.listen(self._topics.availability, parts.rivals.hear_availability, retained=True)
        had_spoken = parts.rivals.has_spoken
        if had_spoken:  # then another's is from while we were away
            self._announcer.listen(self._topics.info, parts.rivals.hear_info, retained=True)
        self._publish_info()
        if not had_spoken:
            self._announcer.listen(self._topics.info, parts.rivals.hear_info, retained=True)
        self._cameras.announce()
        self._events.announce()

    def _announce_again(self) -> None:
        self._next_stats = 0.0
        self._cameras.tell_entities_again()
        self._announce()

    def _answer_rivals(self) -> None:
        rivals = self._parts.rivals
        if rivals.contradicted.is_set():
            rivals.contradicted.clear()
            # It may be our own last will: then the broker is about to end the connection, and not for this.
            self._announcer.tell(self._topics.availability, ONLINE, qos=0)
        if rivals.due():
            self._publish_info()

    def _on_birth(self, asked: Incoming) -> None:
        if asked.payload == homeassistant.BIRTH:
            self._parts.cameras.discovery.on_birth()
            self._cameras.tell_entities_again()
            self._connection.wake()

    def _announce_changes(self) -> None:
        announcements = self._parts.announcements
        if announcements.again.is_set():
            announcements.again.clear()
            self._publish_info()
            self._next_stats = 0.0
        if announcements.stats_now.is_set():
            announcements.stats_now.clear()
            self._next_stats = 0.0

    def _publish_info(self) -> None:
        self._announcer.tell(self._topics.info, self._parts.rivals.info(), spare=SPARE_INFO)

    def _publish_answers(self) -> None:
        for topic, payload, correlation in self._parts.commander.answers():
            self._announcer.tell(topic, payload, retain=False, correlation=correlation)

    def _settle(self, mids: Sequence[int]) -> None:
        """Raises SinkError where the broker takes no records of ours; the rest is not worth a stop.

        So it does where the broker acknowledges nothing for too long, whatever is waited for.
        """
        self._cameras.settle(mids)
        self._events.settle(mids)
        landed = self._flight.ended(mids, refused=self._connection.refused)
        reasons = {mid: no for mid in landed if (no := self._connection.refused.pop(mid, None))}
        records = [key for mid, key in landed.items() if isinstance(key, int) and mid not in reasons]
        self._records.settle(records, others=len(landed) > len(records))
        if records:  # the connection may not outlast what is announced
            self._look_whether_it_works()
        for mid, reason in reasons.items():
            key = landed[mid]
            if isinstance(key, int):
                self._records.refuse(key, reason)
            if time.monotonic() - self._warned_at > REMIND_SECONDS:
                self._warned_at = time.monotonic()
                log.warning("the broker rejected an announcement: %s: %s", key, reason)
        self._records.look_whether_it_answers(for_others=self._announcer.is_waiting)

    def _publish_stats(self) -> None:
        if time.monotonic() >= self._next_stats:
            announcements = self._parts.announcements
            self._next_stats = time.monotonic() + announcements.stats_seconds
            self._calm_at = time.monotonic() + CALM_SECONDS
            stats = announcements.stats()
            self._told_busy = _tells_of_work(stats)
            self._announcer.tell(self._topics.stats, stats, qos=0, spare=SPARE_STATS)

    def _look_whether_all_is_done(self) -> None:
        """What waited when stats were told is told to be done at once, not only when they are due again."""
        if self._told_busy and self._is_calm():
            self._next_stats = min(self._next_stats, self._calm_at)

    def _is_calm(self) -> bool:
        return not (self._records.are_on_the_way or self._parts.announcements.busy())

    def _seconds_to_wait(self) -> float:
        until = min(self._next_stats, self._parts.ending.deadline) - time.monotonic()
        until = min(until, self._records.seconds_to_look(), self._flight.seconds_to_release())
        if not self._works:
            until = min(until, self._parts.evictions.seconds_to_last() or until)
        others = (self._cameras, self._events, self._parts.rivals)
        return min(until, *(each.seconds_to_next() for each in others))

    def _say_goodbye(self) -> None:
        """Offline in our own words: a clean DISCONNECT makes the broker forget the last will."""
        self._publish_answers()
        self._events.publish_last()
        self._cameras.publish_last()
        self._next_stats = 0.0
        self._publish_stats()
        last = self._announcer.tell(self._topics.availability, OFFLINE)
        while last is not None and last in self._flight and (left := self._seconds_left()) > 0:
            self._settle(self._connection.acknowledged(timeout=left))


def _tells_of_work(stats: bytes) -> bool:
    found = msgspec.json.decode(stats)
    return bool(found["counters"]["waiting"] or found["queues"]["outbox"])
