"""What a connection publishes of the outbox, and the mark that moves on as PUBACKs arrive."""

import math
import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from dropsight import crashpoints
from dropsight.errors import SinkError
from dropsight.journal.outbox import Delivery
from dropsight.sinks.mqtt.announcing import fitted
from dropsight.sinks.mqtt.camera_session import SPARE_RECORD
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.event_session import EventSession
from dropsight.sinks.mqtt.forbidden import Topic
from dropsight.sinks.mqtt.in_flight import InFlight
from dropsight.sinks.mqtt.publisher_parts import PublisherParts
from dropsight.sinks.mqtt.refusals import PassingReason

BATCH = 64
ACKNOWLEDGE_SECONDS = 0.05
RECORDS, CONNECTION = "records", "mqtt"
# So long a broker may acknowledge none of the records in flight before that is a trouble, and then a loss.
TOLD_SECONDS, LOST_SECONDS = 60.0, 600.0


class NotTakenError(SinkError):
    """The broker says of a record that it does not take it, and why."""


class RecordSession:
    """For the session's thread. A PUBACK settles a record in flight, and the mark follows in order.

    Those in flight stand in `_order`. `passed` is whether the broker took one on this connection.
    """

    def __init__(
        self, parts: PublisherParts, connection: Connection, flight: InFlight, events: EventSession
    ) -> None:
        self._parts, self._connection, self._topics = parts, connection, parts.topics
        self._flight, self._events = flight, events
        self._acknowledged = self._read_upto = parts.outbox.acknowledged()
        self._noted_at = 0.0
        self._waiting: deque[Delivery] = deque()
        self._order: deque[int] = deque()
        self._settled, self._skipped = set[int](), set[int]()
        self._sent: dict[int, Topic] = {}
        """What those that are not settled in order yet were sent as."""
        self._unsure: dict[int, Topic] = {}
        """The one, if any, that is acknowledged, and that the connection may yet be lost over."""
        self._has_offered = False
        self._newest = 0
        """The last of those that the broker has acknowledged: others are settled as they are not for it."""
        self._suspected_upto = parts.suspects.last_record(self._acknowledged)
        self._answered_at = math.inf
        """Since when the oldest was not acknowledged, while there are any."""
        self._others_wait_since = math.inf
        """Since when no announcement was acknowledged, while one waits for that."""
        self._is_told = False
        """Whether that is a trouble of this connection, as no record waits."""
        self.passed = False

    @property
    def are_on_the_way(self) -> bool:
        return bool(self._order or self._waiting)

    def are_outstanding(self) -> bool:
        """Whether any are on the way, or in the outbox."""
        return self.are_on_the_way or bool(self._parts.outbox.pending(self._read_upto, 1))

    @property
    def need_not_be_alone(self) -> bool:
        """Whether one is through, and each that a connection may have been lost over; or there are none."""
        if self._flight.is_offering or self.seconds_to_calm:
            return False
        return not self._order or (self.passed and self._order[0] > self._suspected_upto)

    def publish(self) -> None:
        """As many as the broker has places for."""
        while self._publish_next():
            pass

    def publish_one(self) -> bool:
        """Beside what else there is, unless it has to be alone; tell whether there was one."""
        return not self.have_suspects and self._publish_next()

    @property
    def have_suspects(self) -> bool:
        """Whether any that a connection may have been lost over is yet to be taken."""
        return self._acknowledged < self._suspected_upto

    @property
    def seconds_to_calm(self) -> float:
        """How long the next one waits where it has to be alone: also with what the last may bring about."""
        return self._flight.seconds_unsure() if self.have_suspects else 0.0

    def _publish_next(self) -> bool:
        if not self._connection.has_place:
            return False
        if not self._waiting:
            self._waiting.extend(self._parts.outbox.take(self._read_upto, BATCH))
            if not self._waiting:
                return False
            self._read_upto = self._waiting[-1].seq
        if self._flight.is_held(self._waiting[0].seq):
            self._offer_another(self._waiting[0])
            return False
        first = self._order[0] if self._order else self._waiting[0].seq
        if first <= self._suspected_upto and (self._flight or self.seconds_to_calm):
            return False
        self._publish(self._waiting.popleft())
        return True

    def _offer_another(self, held: Delivery) -> None:
        """Alone, once at each connection, and until one is taken."""
        if self._has_offered or self._flight or self._parts.suspects.takes_records:
            return
        self._has_offered = True
        if other := self._parts.others.next_behind(held):
            self._flight.offered = other.seq
            self._send(other)

    def look_whether_it_answers(self, *, for_others: bool) -> None:
        """Raises SinkError where a broker that answers pings does not acknowledge the oldest for long.

        It may have lost what it was sent, or thrown it away beyond a rate, which nobody would send again on
        this connection. So may it have announcements, which have all the places that it grants, and no
        record is sent, nor others, where they wait for one. A record that it never acknowledges, but later
        ones, is set aside in the end.
        """
        self._look_whether_others_wait(waiting=for_others)
        if self.seconds_held() or not (for_others or self.are_outstanding()):
            self._answered_at = math.inf
            return
        self._answered_at = min(self._answered_at, time.monotonic())
        silent = time.monotonic() - self._answered_at
        if silent >= LOST_SECONDS:
            self._answered_at = math.inf  # once
            if self._is_overtaken() and self._parts.suspects.unanswered(self._order[0]):
                self.say_aside(self._order[0], "the broker never acknowledges it")
            raise SinkError(f"the broker acknowledges {self._unanswered()} for {LOST_SECONDS:.0f} s")
        if silent >= TOLD_SECONDS:
            fault = f"the broker acknowledges {self._unanswered()} for more than {TOLD_SECONDS:.0f} s"
            self._is_told = not self.are_outstanding()
            self._parts.troubles.raised(CONNECTION if self._is_told else RECORDS, SinkError(fault))

    def _look_whether_others_wait(self, *, waiting: bool) -> None:
        self._others_wait_since = min(self._others_wait_since, time.monotonic()) if waiting else math.inf
        if time.monotonic() - self._others_wait_since >= LOST_SECONDS:
            self._others_wait_since = math.inf  # once
            raise SinkError(f"the broker acknowledges no announcement for {LOST_SECONDS:.0f} s")

    def _unanswered(self) -> str:
        if not self._order:
            return "nothing that it was sent,"
        if not self._is_overtaken():
            return "no record, the oldest"
        return f"later records, but not record {self._order[0]},"

    def _is_overtaken(self) -> bool:
        return bool(self._order) and self._newest > self._order[0]

    def seconds_held(self) -> float:
        """How long the next is held back; infinity where that is not known."""
        if self._order or self._flight.is_offering or not self._waiting:
            return 0.0
        return self._flight.seconds_held(self._waiting[0].seq)

    def seconds_to_look(self) -> float:
        silent = time.monotonic() - self._answered_at
        return max((TOLD_SECONDS if silent < TOLD_SECONDS else LOST_SECONDS) - silent, 0.0)

    def _publish(self, delivery: Delivery) -> None:
        if not self._order:
            self._answered_at = time.monotonic()
        self._order.append(delivery.seq)
        if self._parts.forbidden.rests((delivery.status, delivery.camera)):
            self._parts.suspects.put_aside(delivery.seq)
        if self._parts.suspects.is_aside(delivery.seq) or delivery.seq in self._parts.suspects.ahead:
            self._skip(delivery.seq)
        elif not self._send(delivery):
            self._parts.tally.oversized += 1
            fault = f"record {delivery.seq} is larger than the broker accepts (in the log, not on MQTT)"
            self._parts.troubles.raised(RECORDS, SinkError(fault))
            self._skip(delivery.seq)

    def _send(self, delivery: Delivery) -> bool:
        """Tell whether it is small enough. No older one is retained in the place of one that went ahead."""
        settings, is_event = self._parts.settings, delivery.status == "event"
        record = self._topics.record(delivery.status, delivery.camera), delivery.line
        topic, line = self._events.of(delivery) if is_event else record
        retain = settings.retain and delivery.status == "ok"
        retain = retain and self._parts.cameras.watch.remembers(delivery.camera)
        retain = retain and delivery.camera not in self._parts.suspects.ahead.values()
        room = self._connection.offers.room(topic)
        fitting = line if room is None else fitted(line, room, SPARE_RECORD)
        if fitting is None:
            return False
        qos = 1 if is_event else settings.qos
        self._sent[delivery.seq] = sent = (delivery.status, delivery.camera)
        if sent in self._parts.forbidden:
            self._parts.suspects.doomed.add(delivery.seq)
        send = partial(self._connection.publish, topic, fitting, qos=qos, retain=retain)
        mid = self._flight.depart(delivery.seq, send)
        if mid is not None:
            self._flight.began(mid, delivery.seq)
            crashpoints.reach("after_publish")
        return mid is not None

    def _skip(self, seq: int) -> None:
        self._skipped.add(seq)
        if self._order and self._order[0] == seq:  # one that went before its turn is not in there
            self._move_on()

    def settle(self, seqs: Sequence[int], *, others: bool) -> None:
        """The broker has these, and `others` that may have been before them."""
        if seqs:
            self.passed = True
            self._parts.tally.published += len(seqs)
            self._settled.update(seqs)
            self._newest = max(self._newest, *seqs)
            self._parts.suspects.went_ahead(
                {each: self._sent[each][1] for each in seqs if each == self._flight.offered}
            )
        self._note_what_is_taken(seqs)
        if self._move_on() and seqs:
            self._say_what_is_forbidden()
        if others:
            self._others_wait_since = math.inf
            if not self._order:
                self._answered_at = math.inf
        if self._is_told and (seqs or others):
            self._is_told = False
            self._parts.troubles.cleared(CONNECTION)

    def _note_what_is_taken(self, seqs: Sequence[int]) -> None:
        known = self._unsure | {seq: self._sent[seq] for seq in seqs}
        self._unsure = {seq: topic for seq, topic in known.items() if seq == self._flight.unsure_record}
        for seq in known.keys() - self._unsure.keys():
            self._parts.forbidden.taken(known[seq])

    def doubt_the_last(self) -> None:
        """The broker has hung up: perhaps on what it acknowledged, as some of MQTT 3.1.1 do."""
        if (seq := self._flight.lost_over_acknowledged()) in self._unsure:
            self._parts.forbidden.doubted(self._unsure[seq])
            self._say_what_is_forbidden()

    def refuse(self, seq: int, reason: str) -> None:
        """A no counts as a hanging up, which some brokers do after it; raises SinkError.

        One for now, as of a broker that limits the rate, has all wait: the record is as good as others. What
        was taken of later ones is not sent again.
        """
        if seq in self._parts.suspects.doomed and not isinstance(reason, PassingReason):
            self._parts.suspects.put_aside(seq)
            self.set_aside(seq, f"the broker rejected it: {reason}")
            self._skip(seq)
            return
        self._parts.suspects.went_ahead({each: self._sent[each][1] for each in self._settled})
        if isinstance(reason, PassingReason):
            raise NotTakenError(f"the broker takes no records for now: {reason}")
        if seq != self._flight.offered and self._flight.lost_over([seq]):
            self.set_aside(seq, f"the broker rejected it: {reason}")
        raise NotTakenError(f"the broker rejects our records: {reason}")

    def set_aside(self, seq: int, reason: str) -> None:
        """For what the broker has said to it, or that it hung up."""
        self._parts.forbidden.set_aside(self._sent[seq])
        self.say_aside(seq, reason)

    def _say_what_is_forbidden(self) -> None:
        if fault := self._parts.forbidden.fault():
            self._parts.troubles.raised(RECORDS, fault)
        else:
            self._parts.troubles.cleared(RECORDS)

    def say_aside(self, seq: int, reason: str) -> None:
        fault = f"record {seq} is set aside (in the log, not on MQTT): {reason}"
        self._parts.troubles.raised(RECORDS, SinkError(fault))

    def _move_on(self) -> bool:
        """Tell whether the oldest is another one now."""
        before = self._acknowledged
        while self._order and (self._order[0] in self._settled or self._order[0] in self._skipped):
            self._acknowledged = self._order.popleft()
            self._parts.tally.set_aside += self._parts.suspects.was_aside(self._acknowledged)
            self._settled.discard(self._acknowledged)
            self._skipped.discard(self._acknowledged)
            self._sent.pop(self._acknowledged, None)
        if has_moved := self._acknowledged > before:
            self._answered_at = math.inf
        if not self._order or time.monotonic() - self._noted_at >= ACKNOWLEDGE_SECONDS:
            self.note()
        return has_moved

    def note(self) -> None:
        self._noted_at = time.monotonic()
        if self._acknowledged > self._parts.outbox.acknowledged():
            self._parts.outbox.acknowledge(self._acknowledged)
