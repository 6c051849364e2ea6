"""How far each follower of the journal has it."""

import threading
from collections.abc import Callable, Mapping

import msgspec

from dropsight.config import Config

BURSTS = "bursts"


class Mark(msgspec.Struct):
    """A follower's place: it has everything up to `seq`, which its thread moves; the rest is the recorder's.

    `who` names it in words, `bound` the setting of `max_backlog`: so many records are kept for it.
    """

    name: str
    max_backlog: int
    who: str
    bound: str
    seq: int = 0
    noted: int = 0
    """What the journal knows of `seq`."""
    dropped: int = 0
    """Records that it did not get: beyond the bound."""
    dropped_upto: int = 0
    taken: int = 0
    """The last that is on its way, of which none is dropped; 0 where none is. Under `lock`."""
    lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def outstanding(self, newest: int) -> int:
        """Records that it does not have yet, and still can get; of failed ones, some may be gone."""
        return max(newest - max(self.seq, self.dropped_upto), 0)


class History(msgspec.Struct, frozen=True):
    """How much the journal keeps: records in all, and for its followers."""

    max_records: int
    marks: tuple[Mark, ...] = ()

    @property
    def prune_every(self) -> int:
        """Records between two prunings: rarely enough to cost nothing, often enough to keep the bounds."""
        return max(min([self.max_records, *(mark.max_backlog for mark in self.marks)]) // 10, 64)

    def resume(self, place_of: Callable[[str], int]) -> None:
        """Have each follower go on from where the journal says that it is."""
        for mark in self.marks:
            mark.seq = mark.noted = place_of(mark.name)

    def places(self) -> dict[str, int]:
        return {mark.name: mark.seq for mark in self.marks}

    def has_moved(self) -> bool:
        return any(mark.seq != mark.noted for mark in self.marks)

    def noted(self, places: Mapping[str, int]) -> None:
        for mark in self.marks:
            mark.noted = places[mark.name]


def mark_of_bursts(config: Config) -> Mark | None:
    """Where bursts stand in the journal, None where nobody wants any."""
    if not any(watch.burst_seconds for watch in config.watch):
        return None
    return Mark(BURSTS, config.store.max_records, who="the grouping of bursts", bound="store.max_records")
