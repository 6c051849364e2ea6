"""Files away what is on record; what has no room stays in hand and is tried ever less often."""

import time
from collections.abc import Callable, Sequence

from dropsight.errors import StoreError
from dropsight.records import status_of
from dropsight.service.backlog import Backlog
from dropsight.service.dropfolder import DropFolder
from dropsight.service.filing import Filing, PlaceError, file_away, identity
from dropsight.service.recording import Recorded
from dropsight.service.troubles import Troubles

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class Filer:
    """Used by the recorder's thread alone. `filed` are the seqs that the journal has yet to hear of.

    `gets_on` is called for every file: copying many takes its time.
    """

    def __init__(self, backlog: Backlog, troubles: Troubles, *, gets_on: Callable[[], None]) -> None:
        self._backlog, self._troubles, self._gets_on = backlog, troubles, gets_on
        self._stuck: list[Recorded] = []
        self._pause, self._next_try = FIRST_PAUSE_SECONDS, 0.0
        self.filed: list[int] = []

    @property
    def at_rest(self) -> bool:
        return not (self._stuck or self.filed)

    @property
    def seconds_to_next_try(self) -> float:
        return max(self._next_try - time.monotonic(), 0.0) if self._stuck else float("inf")

    def file(self, recorded: Sequence[Recorded]) -> None:
        """File away at once what can be; the rest is stuck for now."""
        self._stuck.extend(self._try(recorded, told=bool(self._stuck)))

    def try_again(self, *, at_once: bool = False) -> None:
        if not self._stuck or (time.monotonic() < self._next_try and not at_once):
            return
        before, self._stuck = len(self._stuck), self._try(self._stuck, told=False)
        if not self._stuck:
            self._troubles.cleared("filing")
        # Copying to a full disk costs as much as to an empty one: do it less and less.
        moving = len(self._stuck) < before
        self._pause = FIRST_PAUSE_SECONDS if moving else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._next_try = time.monotonic() + self._pause

    def _try(self, recorded: Sequence[Recorded], *, told: bool) -> list[Recorded]:
        """Return what is stuck; the first refusal is told of, unless others are `told` of already.

        Where a place is full or write-protected, one refusal speaks for all that would go there.
        """
        stuck: list[Recorded] = []
        closed: set[tuple[DropFolder, bool]] = set()
        for entry in recorded:
            candidate, record = entry.finished.candidate, entry.finished.record
            place = (candidate.folder, status_of(record) == "ok")
            self._gets_on()
            error = None if place in closed else _refusal(entry)
            if isinstance(error, PlaceError):
                closed.add(place)
            if error and not (told or stuck):
                self._troubles.raised("filing", error)
            if error or place in closed:
                stuck.append(entry)
            else:
                self.filed.append(entry.seq)
                self._backlog.finish(candidate, status_of(record))
        return stuck


def _refusal(entry: Recorded) -> StoreError | None:
    candidate, stat, record = entry.finished.candidate, entry.finished.stat, entry.finished.record
    try:
        file_away(Filing(candidate.folder, candidate.path, identity(stat), record, entry.line))
    except StoreError as error:
        return error
    return None
