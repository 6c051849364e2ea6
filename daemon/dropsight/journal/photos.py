"""Photos as the journal has them, grouped to bursts: what it says of them is all there is to remember."""

import math
import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from dropsight.inference.bursts import Burst, Grouping, Photo
from dropsight.intake.folder import DropFolder
from dropsight.journal.reader import JournalReader
from dropsight.journal.schema import translated
from dropsight.records import Result, Status, burst_in, captured_at, decode

PAGE = 500


class PhotoRow(NamedTuple):
    """A durable record; `path` is its image's, empty for a burst."""

    seq: int
    path: str
    status: Status
    line: bytes


class Photos(Protocol):
    """The part of the journal that is asked; raises StoreError."""

    def after(self, seq: int, limit: int) -> Sequence[PhotoRow]:
        """Durable records with a later seq, in order, whether others may see them yet or not."""

    def in_bursts(self, *, after: int) -> set[str]:
        """Return the ids of photos in bursts that were recorded after this seq."""


class PhotoReader(JournalReader):
    """A reading connection, for one thread; see `Photos`."""

    def after(self, seq: int, limit: int) -> list[PhotoRow]:
        with translated(self.path):
            rows = self._db.execute(
                "SELECT seq, path, status, line FROM record WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
            )
            return [PhotoRow(number, os.fsdecode(path), status, line) for number, path, status, line in rows]

    def in_bursts(self, *, after: int) -> set[str]:
        with translated(self.path):
            rows = self._db.execute("SELECT line FROM record WHERE seq > ? AND status = 'burst'", (after,))
            bursts = [burst_in(decode(line)) for (line,) in rows]
        return {photo for burst in bursts if burst for photo in burst.photos}


class Gathering:
    """Groups the photos from a place in the journal on; for one thread, and one life of it.

    Photos of bursts that are on record already stay out, and of those `given` to the recorder, which another
    life may have done. So no photo is in two, whenever a life ends.
    """

    def __init__(
        self, photos: Photos, folders: Sequence[DropFolder], place: int, given: dict[str, Sequence[Photo]]
    ) -> None:
        self._photos, self._folders, self._place, self._given = photos, folders, place, given
        self._grouping = Grouping()
        in_hand = {photo.record.id for each in given.values() for photo in each}
        self._taken = photos.in_bursts(after=place) | in_hand

    @property
    def settled(self) -> int:
        """Up to here, no photo is in a burst that is not on record and may yet be."""
        open_from = [photo.seq for photos in self._given.values() for photo in photos]
        if (earliest := self._grouping.earliest()) is not None:
            open_from.append(earliest)
        return min(open_from) - 1 if open_from else self._place

    @property
    def next_over(self) -> float:
        """When a burst may be over, in monotonic seconds."""
        return self._grouping.next_over()

    def over(self, now: float, *, waiting_since: float = math.inf, close: bool = False) -> list[Burst]:
        """Read what is new, and take the bursts that are over; a photo alone is none."""
        self._read_on(now)
        grouping = self._grouping
        over = grouping.take_all() if close else grouping.take_over(now, waiting_since)
        return [burst for burst in over if len(burst.photos) > 1]

    def give(self, burst_id: str, burst: Burst) -> None:
        """It goes to the recorder; once it is on record, that is read."""
        self._given[burst_id] = burst.photos

    def _read_on(self, now: float) -> None:
        while page := self._photos.after(self._place, PAGE):
            for seen in page:
                if seen.status == "burst":
                    self._given.pop(decode(seen.line).id, None)
                elif seen.status == "ok":
                    self._group(seen, now)
            self._place = page[-1].seq

    def _group(self, seen: PhotoRow, now: float) -> None:
        folder = next((each for each in self._folders if each.wants(seen.path)), None)
        within = folder and folder.settings.burst_seconds
        record = decode(seen.line) if within else None
        if not (within and isinstance(record, Result) and record.kind == "image"):
            return
        if record.id not in self._taken:
            line = folder, record.camera, record.model.digest
            self._grouping.add(line, Photo(seen.seq, captured_at(record), record), within=within, now=now)
