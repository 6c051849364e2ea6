"""Files away what is on record; what has no room stays in hand and is tried ever less often."""

import os
import time
from collections.abc import Callable, Sequence

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.names import as_text
from dropsight.records import status_of
from dropsight.service.backlog import Backlog
from dropsight.service.dropfolder import DropFolder
from dropsight.service.durability import Durability
from dropsight.service.filing import Filing, PlaceError, file_away
from dropsight.service.inhand import FILING, InHand
from dropsight.service.mishaps import internal_error
from dropsight.service.original import identity
from dropsight.service.recording import Recorded, filed_of
from dropsight.service.refusals import FolderError, Refusals
from dropsight.service.schema import Shelved
from dropsight.service.shelf import Filed, lies_at
from dropsight.service.troubles import Troubles

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
# Further ones are neither read nor held in memory until the folder is open.
MOST_BEHIND = 4_096


class Filer:
    """Used by the recorder's thread alone, but for `refuses`.

    `gets_on` is called for every file: copying many takes its time.
    """

    def __init__(
        self,
        backlog: Backlog,
        troubles: Troubles,
        refusals: Refusals,
        durability: Durability,
        *,
        in_hand: InHand,
        gets_on: Callable[[], None],
    ) -> None:
        self._backlog, self._troubles, self._refusals, self._gets_on = backlog, troubles, refusals, gets_on
        self._durability, self._in_hand = durability, in_hand
        self._stuck: list[Recorded] = []
        self._behind: list[Recorded] = []
        """Images in folders that are closed to us."""
        self._closed: dict[str, str] = {}
        """Folders with such images in them, and the topmost that is to be opened."""
        self._pause, self._next_try = FIRST_PAUSE_SECONDS, 0.0
        self.shelved: list[Shelved] = []
        """Where they lie now."""

    @property
    def at_rest(self) -> bool:
        return not (self._stuck or self._behind)

    @property
    def seconds_to_next_try(self) -> float:
        return max(self._next_try - time.monotonic(), 0.0) if self._stuck or self._behind else float("inf")

    def refuses(self, path: str) -> bool:
        """Whether to leave this image where it is: too many wait in closed folders. From any thread."""
        return len(self._behind) >= MOST_BEHIND and os.path.dirname(path) in self._closed

    def file(self, recorded: Sequence[Recorded]) -> None:
        """File away at once what can be; the rest is stuck for now."""
        self._stuck.extend(self._try(recorded, told=bool(self._stuck)))

    def was_filed(self, filed: Filed, folders: Sequence[DropFolder]) -> None:
        """It is out of the inbox."""
        places = [os.path.dirname(filed.path)]
        if there := lies_at(folders, filed):
            self.shelved.append(there)
            places.append(os.fsdecode(there.place))
        self._durability.moved(filed.seq, *places)

    def try_again(self, *, at_once: bool = False) -> None:
        before = [*self._stuck, *self._behind]
        if not before or (time.monotonic() < self._next_try and not at_once):
            return
        self._behind, self._closed = [], {}
        self._stuck = self._try(before, told=False)
        if not self._stuck:
            self._troubles.cleared("filing")
        # Copying to a full disk costs as much as to an empty one: do it less and less.
        moving = len(self._stuck) + len(self._behind) < len(before)
        self._pause = FIRST_PAUSE_SECONDS if moving else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._next_try = time.monotonic() + self._pause

    def _try(self, recorded: Sequence[Recorded], *, told: bool) -> list[Recorded]:
        """Return what is stuck; the first refusal is told of, unless others are `told` of already.

        Where a place is full or write-protected, one refusal speaks for all that would go there; where a
        folder is closed, for all in it, and for nothing else.
        """
        stuck: list[Recorded] = []
        full: set[tuple[DropFolder, bool]] = set()
        for entry in recorded:
            candidate, record = entry.finished.candidate, entry.finished.record
            place = (candidate.folder, status_of(record) == "ok")
            self._gets_on()
            if os.path.dirname(candidate.path) in self._closed:
                self._set_aside(entry)
                continue
            error = None if place in full else self._refusal(entry)
            if isinstance(error, FolderError):
                self._closed[os.path.dirname(candidate.path)] = error.folder
                self._set_aside(entry)
                continue
            if isinstance(error, PlaceError):
                full.add(place)
            if error and not (told or stuck):
                self._troubles.raised("filing", error)
            if error or place in full:
                stuck.append(entry)
                self._backlog.let_pass(candidate)
            else:
                self.was_filed(filed_of(entry), [candidate.folder])
                self._in_hand.acquit(candidate.path)
                if candidate.counted:
                    self._backlog.finish(candidate, status_of(record))
                else:
                    self._backlog.drop(candidate)
        self._in_hand.clear(FILING)
        self._refusals.found("filing", self._closed.values())
        return stuck

    def _set_aside(self, entry: Recorded) -> None:
        self._behind.append(entry)
        self._backlog.set_aside(entry.finished.candidate)

    def _refusal(self, entry: Recorded) -> StoreError | None:
        candidate, stat, record = entry.finished.candidate, entry.finished.stat, entry.finished.record
        suspect = self._in_hand.suspect(candidate.path)
        if suspect and suspect.is_guilty and suspect.stage == "file":
            return StoreError(f"{as_text(candidate.path)} stays: filing it away ended the process, twice")
        self._in_hand.note(FILING, candidate.path, "file")
        try:
            crashpoints.reach_path("in_filing_away", candidate.path)
            file_away(Filing(candidate.folder, candidate.path, identity(stat), record, entry.line))
        except StoreError as error:
            return error
        except Exception as error:  # noqa: BLE001 - one image's, which is on record: it is tried again
            failure = internal_error(error, candidate.path, self._troubles)
            return StoreError(f"{as_text(candidate.path)} cannot be filed away: {failure}")
        return None
