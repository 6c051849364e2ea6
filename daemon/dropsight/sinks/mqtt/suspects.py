"""Messages in flight when connections were lost: sent alone from then on, and finally set aside.

Some brokers hang up on whom they forbid a topic, and those of MQTT 3.1.1 on what is too large for them; none
says which message it was. Others hang up whatever they are sent: so one that was alone twice is held back
until a connection has outlasted those that were lost, and the broker has taken another message on it.
A record that waits for that has all others wait: where others end each connection before, it goes first.
And of records it has to have taken another: one that takes none has other rules than it should, or no room.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

RECORD_LOSSES, HELD_LOSSES = 3, 2
# So many connections that are lost too soon a record is held back for, while the broker takes others on them.
RECORD_WAITS = 10
# So many topics of one kind that are held back, while none of it is taken, are one suspect from then on.
FEW_OF_A_KIND = 4
# So much longer than those that were lost with it a connection has to last, and so long at least and at most.
OUTLASTS, LEAST_SECONDS, MOST_SECONDS = 2.0, 1.0, 60.0
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 3_600.0, 86_400.0
MOST = 4_096
SUBSCRIBING, READING = "subscribing to ", "reading "


class SuspectMessages:
    """For the publisher's thread, but for `aside`. A key is a topic, a subscription or a record's seq."""

    def __init__(self, kind_of: Callable[[str], str] = str) -> None:
        self._kind_of = kind_of
        self._kinds_taken: set[str] = set()
        """Those of which the broker has taken some since a connection was lost over one of them."""
        self._losses: dict[str | int, int] = {}
        """The last that was lost stands last."""
        self._lasted: dict[str | int, float] = {}
        self._aside: dict[str, float] = {}
        self._rests: dict[str, float] = {}
        self._records_aside: set[int] = set()
        self.ahead: dict[int, str] = {}
        """Records that the broker has taken, though not one before them, and their cameras."""
        self.doomed: set[int] = set()
        """Records of topics of which the broker takes none: one loss, alone, tells enough."""
        self.takes_records = False
        """Whether one went ahead since one was set aside."""
        self._unanswered: dict[int, int] = {}
        self._waits: dict[str | int, int] = {}
        self._tries: dict[str | int, int] = {}

    def key_of(self, topic: str) -> str:
        """Return what it is suspected as: the topic, or all of its kind where none of that is taken."""
        kind = self._kind_of(topic)
        return kind if self.suspects(kind) else topic

    def unanswered(self, seq: int) -> bool:
        """Take note of a record that alone was not acknowledged; tell whether it is set aside now."""
        self._unanswered[seq] = self._unanswered.get(seq, 0) + 1
        if self._unanswered[seq] < RECORD_LOSSES:
            return False
        self._records_aside.add(seq)
        return True

    def lost(self, in_flight: Collection[str | int], *, lasted: float, decides: bool) -> Sequence[str | int]:
        """Take note of what a connection was lost with, and how long it lasted; return what is set aside now.

        Only one that was alone, once more after it was held back, is known to be the cause, where the broker
        took another on that connection, or there is none (`decides`); of several, each may be.
        """
        alone = len(in_flight) == 1
        gone: list[str | int] = []
        for key in in_flight:
            losses = self._losses.pop(key, 0)
            is_doomed = alone and key in self.doomed
            if is_doomed or (alone and losses >= HELD_LOSSES and self._is_at_fault(key, decides=decides)):
                self._forget(key)
                gone.append(self._set_aside(key))
                continue
            self._losses[key] = min(losses + alone, HELD_LOSSES)
            if alone and losses < HELD_LOSSES:  # else it lasted as it was waited for
                self._lasted[key] = max(lasted, self._lasted.get(key, 0.0))
                self._suspect_its_kind(key)
        self._kinds_taken -= {self._kind_of(key) for key in in_flight if isinstance(key, str)}
        while len(self._losses) > MOST:
            self._forget(next(iter(self._losses)))
        return gone

    def _is_at_fault(self, key: str | int, *, decides: bool) -> bool:
        """Of one that was alone once more; a record that went first was so several times, others between."""
        if not self._is_overdue(key):
            return decides
        self._waits[key] = RECORD_WAITS - 1
        self._tries[key] = min(self._tries.get(key, 0) + 1, RECORD_LOSSES)
        return decides and self._tries[key] >= RECORD_LOSSES

    def waited(self, held: Collection[str | int]) -> None:
        """Take note of what was held back on a connection that was lost."""
        for key in held:
            if isinstance(key, int):
                self._waits[key] = self._waits.get(key, 0) + 1

    def _is_overdue(self, key: str | int) -> bool:
        return self._waits.get(key, 0) >= RECORD_WAITS

    def _suspect_its_kind(self, key: str | int) -> None:
        """Else a broker that forbids a kind hangs up on each of a thousand cameras, one after the other."""
        if isinstance(key, int) or (kind := self._kind_of(key)) in self._kinds_taken:
            return
        alike = [each for each in self.held if self._kind_of(each) == kind]
        if len(alike) >= FEW_OF_A_KIND:
            lasted = max(self._lasted.get(each, 0.0) for each in alike)
            self._forget_kind(kind)
            self._losses[kind], self._lasted[kind] = HELD_LOSSES, lasted

    def _forget_kind(self, kind: str) -> None:
        for key in [key for key in self._losses if isinstance(key, str) and self._kind_of(key) == kind]:
            self._forget(key)

    def has_to_last(self, key: str | int) -> float | None:
        """How many seconds a connection has to last before this is sent, None where it is not held back."""
        if self._losses.get(key, 0) < HELD_LOSSES or self._is_overdue(key):
            return None
        longest = max(OUTLASTS * self._lasted.get(key, 0.0), LEAST_SECONDS)
        return min(longest, MOST_SECONDS)

    def longest_untried(self, keys: Collection[str | int]) -> str | int | None:
        return next((key for key in self._losses if key in keys), None)

    @property
    def held(self) -> list[str]:
        """What is held back; may be asked by any thread."""
        losses = list(self._losses.items())
        return sorted(key for key, count in losses if count >= HELD_LOSSES and isinstance(key, str))

    def _forget(self, key: str | int) -> None:
        for notes in (self._losses, self._lasted, self._waits, self._tries):
            notes.pop(key, None)

    def passed(self, key: str | int) -> None:
        """It came through, so it is not the cause."""
        self._forget(key)
        if isinstance(key, int):
            self.doomed.discard(key)
        else:
            self._aside.pop(key, None)
            self._rests.pop(key, None)
            if (kind := self._kind_of(key)).endswith("/#"):
                self._kinds_taken.add(kind)

    def suspects(self, key: str) -> bool:
        return key in self._losses or key in self._rests

    def rests(self, key: str) -> bool:
        """Whether it is set aside at the moment; it is tried again after an hour, later after up to a day."""
        return time.monotonic() < self._aside.get(key, 0.0)

    def went_ahead(self, cameras: Mapping[int, str]) -> None:
        self.ahead |= cameras
        self.takes_records |= bool(cameras)

    def put_aside(self, seq: int) -> None:
        self._records_aside.add(seq)

    def was_aside(self, seq: int) -> bool:
        """Whether one that is settled now was; it is forgotten."""
        if seq not in self._records_aside:
            return False
        self._records_aside.discard(seq)
        self.doomed.discard(seq)
        return True

    def is_aside(self, seq: int) -> bool:
        return seq in self._records_aside

    def last_record(self, upto: int) -> int:
        """Seq of the last record to be tried alone, 0 for none; those up to `upto` are settled."""
        for key in [key for key in self._losses if isinstance(key, int) and key <= upto]:
            self._forget(key)
        self._records_aside = {seq for seq in self._records_aside if seq > upto}
        self.doomed = {seq for seq in self.doomed if seq > upto}
        self.ahead = {seq: camera for seq, camera in self.ahead.items() if seq > upto}
        self.takes_records &= bool(self.ahead)
        self._unanswered = {seq: times for seq, times in self._unanswered.items() if seq > upto}
        return max((key for key in self._losses if isinstance(key, int)), default=0)

    @property
    def aside(self) -> list[str]:
        return sorted(self._aside)

    @property
    def known(self) -> tuple[object, ...]:
        """What is set aside, and held back: where that has changed, the next connection is another one."""
        held = {key for key, losses in self._losses.items() if losses >= HELD_LOSSES}
        return self.aside, held, dict(self._waits), dict(self._tries)

    def _set_aside(self, key: str | int) -> str | int:
        """Return what is: the whole kind, where others of it were not taken either."""
        if isinstance(key, int):
            self._records_aside.add(key)
            self.takes_records = False
            return key
        if (kind := self._kind_of(key)) not in self._kinds_taken:
            self._forget_kind(kind)
            key = kind
        rest = min(2 * self._rests.get(key, FIRST_REST_SECONDS / 2), LONGEST_REST_SECONDS)
        self._rests[key], self._aside[key] = rest, time.monotonic() + rest
        while len(self._aside) > MOST:
            oldest = next(iter(self._aside))
            del self._aside[oldest], self._rests[oldest]
        return key
