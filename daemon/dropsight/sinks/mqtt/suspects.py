"""Messages in flight when connections were lost: sent alone from then on, and finally set aside.

Some brokers hang up on whom they forbid a topic, and those of MQTT 3.1.1 on what is too large for them; none
says which message it was.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from dropsight.errors import SinkError

RECORD_LOSSES, OTHER_LOSSES = 3, 2
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 3_600.0, 86_400.0
MOST = 4_096
# No message has this number.
DEPARTING = 0


class SuspectMessages:
    """For the publisher's thread, but for `aside`. A key is a topic, a subscription or a record's seq."""

    def __init__(self) -> None:
        self._losses: dict[str | int, int] = {}
        self._aside: dict[str, float] = {}
        self._rests: dict[str, float] = {}
        self._records_aside: set[int] = set()
        self._unanswered: dict[int, int] = {}

    def unanswered(self, seq: int) -> bool:
        """Take note of a record that alone was not acknowledged; tell whether it is set aside now."""
        self._unanswered[seq] = self._unanswered.get(seq, 0) + 1
        if self._unanswered[seq] < RECORD_LOSSES:
            return False
        self._records_aside.add(seq)
        return True

    def lost(self, in_flight: Collection[str | int]) -> Sequence[str | int]:
        """Take note of what a connection was lost with; return what is set aside now.

        Only one that was alone is known to be the cause; of several, each may be.
        """
        alone = len(in_flight) == 1
        gone: list[str | int] = []
        for key in in_flight:
            losses = self._losses.pop(key, 0)
            self._losses[key] = losses + 1 if alone else max(losses, 1)
            if self._losses[key] >= (RECORD_LOSSES if isinstance(key, int) else OTHER_LOSSES):
                del self._losses[key]
                self._set_aside(key)
                gone.append(key)
        while len(self._losses) > MOST:
            del self._losses[next(iter(self._losses))]
        return gone

    def passed(self, key: str | int) -> None:
        """It came through, so it is not the cause."""
        self._losses.pop(key, None)
        if isinstance(key, str):
            self._aside.pop(key, None)
            self._rests.pop(key, None)

    def suspects(self, key: str) -> bool:
        return key in self._losses or key in self._rests

    def rests(self, key: str) -> bool:
        """Whether it is set aside at the moment; it is tried again after an hour, later after up to a day."""
        return time.monotonic() < self._aside.get(key, 0.0)

    def is_aside(self, seq: int) -> bool:
        return seq in self._records_aside

    def last_record(self, upto: int) -> int:
        """Seq of the last record to be tried alone, 0 for none; those up to `upto` are settled."""
        for key in [key for key in self._losses if isinstance(key, int) and key <= upto]:
            del self._losses[key]
        self._records_aside = {seq for seq in self._records_aside if seq > upto}
        self._unanswered = {seq: times for seq, times in self._unanswered.items() if seq > upto}
        return max((key for key in self._losses if isinstance(key, int)), default=0)

    @property
    def aside(self) -> list[str]:
        return sorted(self._aside)

    def _set_aside(self, key: str | int) -> None:
        if isinstance(key, int):
            self._records_aside.add(key)
            return
        rest = min(2 * self._rests.get(key, FIRST_REST_SECONDS / 2), LONGEST_REST_SECONDS)
        self._rests[key], self._aside[key] = rest, time.monotonic() + rest
        while len(self._aside) > MOST:
            oldest = next(iter(self._aside))
            del self._aside[oldest], self._rests[oldest]


class InFlight:
    """What is on the way on one connection, by the number that its acknowledgement will have.

    What is silent (QoS 0) has none: it has passed once something that was sent after it has. It is not
    counted as being on the way.
    """

    def __init__(self, suspects: SuspectMessages) -> None:
        self._suspects = suspects
        self._keys: dict[int, str | int] = {}
        self._silent: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._keys) - len(self._silent)

    def __contains__(self, mid: int) -> bool:
        return mid in self._keys

    def began(self, mid: int, key: str | int) -> None:
        self._keys[mid] = key

    def depart(self, key: str | int, send: Callable[[], int | None]) -> int | None:
        """Send it; a broker may hang up so soon that the client takes it for not sent."""
        try:
            return send()
        except SinkError:
            self._keys[DEPARTING] = key
            raise

    def began_silently(self, mid: int, key: str) -> None:
        self._keys.pop(self._silent.get(key, -1), None)
        self._keys[mid], self._silent[key] = key, mid

    def ended(self, mids: Sequence[int], *, refused: Collection[int] = ()) -> Mapping[int, str | int]:
        """Return what has landed, if only to be refused."""
        silent = self._silent.values()
        landed = {mid: self._keys[mid] for mid in mids if mid in self._keys and mid not in silent}
        if landed and silent:
            self._silence_ends(landed)
        for mid, key in landed.items():
            del self._keys[mid]
            if mid not in refused:
                self._suspects.passed(key)
        return landed

    def _silence_ends(self, landed: Mapping[int, str | int]) -> None:
        """Let go of what was sent before the last of these, without a word of its own."""
        sent = list(self._keys)
        last = max(sent.index(mid) for mid in landed)
        for key, mid in list(self._silent.items()):
            if sent.index(mid) < last:
                del self._silent[key], self._keys[mid]
                self._suspects.passed(key)

    def lost(self) -> Sequence[str | int]:
        return self._suspects.lost(set(self._keys.values()))
