"""Files away what is on record; what cannot be filed yet is retried, less and less often."""

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.files.original import FiledAt
from dropsight.intake.aside import MOST_ASIDE
from dropsight.intake.backlog import Backlog
from dropsight.intake.closed_folders import FolderError, Refusals, closed_to_us
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import FILING, InHand
from dropsight.journal.copying import LeftToBeReadError, LeftToThreadError, TooLargeToCopyError
from dropsight.journal.durability import Durability
from dropsight.journal.empty_folders import PassedFolders
from dropsight.journal.filed import Filed, lies_at
from dropsight.journal.filing import PlaceError
from dropsight.journal.filing_recorded import Placed, RecordedFiling
from dropsight.journal.filing_threads import Attempt, FilingThreads
from dropsight.journal.gone_images import Gone, GoneImages, is_bare
from dropsight.journal.kept_files import Kept
from dropsight.journal.left_behind import LeftBehind
from dropsight.journal.mishaps import internal_error
from dropsight.journal.near_places import NearPlaces
from dropsight.journal.recording import Recorded, filed_of, held_up_with, parted_by_renewal, stays_as
from dropsight.journal.schema import Shelved
from dropsight.names import as_text
from dropsight.records import status_of
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

NAME = "recorder"
# Of the time that a supervisor grants for stopping.
FINISH_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
# Further ones, of all that are no better off, are neither read nor held in memory.
MOST = 4_096


class Filer:
    """Used by the recorder's thread alone, but for `refuses`.

    It files away what stays on the journal's own disk, for which all wait anyway; all else is left to threads
    of its inboxes.
    """

    def __init__(
        self,
        backlog: Backlog,
        troubles: Troubles,
        refusals: Refusals,
        durability: Durability,
        filing: RecordedFiling,
        threads: FilingThreads,
        *,
        in_hand: InHand,
        heartbeats: Heartbeats,
    ) -> None:
        self._backlog, self._troubles, self._refusals = backlog, troubles, refusals
        self._durability, self._in_hand, self._heartbeats = durability, in_hand, heartbeats
        self._filing, self._threads, self._near = filing, threads, NearPlaces(backlog.slow)
        self._stuck: list[Recorded] = []
        self._behind: list[Recorded] = []
        """Images in folders that are closed to us."""
        self._closed: dict[str, FolderError] = {}
        """Folders with such images in them."""
        self._asked: dict[str, FolderError] = {}
        """Those that are tried again at the moment."""
        self._full: set[DropFolder] = set()
        """Watched folders whose finished images have no place to go to."""
        self._pause, self._next_try, self._got_on = FIRST_PAUSE_SECONDS, 0.0, False
        self.shelved: list[Shelved] = []
        """Where they lie now; the journal has yet to hear of it."""
        self._left: list[Recorded] = []
        self._bare: set[DropFolder] = set()
        self._passed = PassedFolders()
        self.gone = GoneImages()

    @property
    def at_rest(self) -> bool:
        return not (self._stuck or self._behind or self._threads.busy or self._left)

    @property
    def left(self) -> list[Kept]:
        """What stays in its folder for good; the journal has yet to hear of it."""
        return [stays_as(entry.finished) for entry in self._left]

    def refuses(self, folder: DropFolder, path: str) -> bool:
        """Whether to leave this image where it is: too many wait to be filed away. From any thread."""
        if not (self._stuck or self._behind or self._threads.busy):
            return False
        waiting = len(self._stuck) + len(self._behind) + self._threads.busy
        of_camera = self._backlog.aside_of(folder, folder.camera(path))
        if of_camera >= MOST_ASIDE:
            return True
        # Of the others only those that could be filed away now.
        return waiting >= MOST and (
            of_camera > 0 or folder in self._full or closed_to_us(folder, path) is not None
        )

    def file(self, recorded: Sequence[Recorded]) -> None:
        """File away at once what can be; the rest is stuck for now."""
        self._stuck.extend(self._sort(self._attempts(recorded), told=bool(self._stuck)))

    def open(self, folders: Sequence[DropFolder]) -> None:
        """Look on which disks the places of these are, while they answer."""
        self._near.open(folders)
        self._bare = {folder for folder in folders if is_bare(folder)}

    def take_up(self, behind: LeftBehind) -> None:
        """What an earlier life has left: on other disks than the journal's, a thread is to look for it."""
        self.gone.left_behind(behind.row, behind.record)
        if behind.may_take_long or not self._near.has(behind.candidate.folder, behind.record):
            self._backlog.set_aside(behind.candidate)
            self._threads.look_for(behind)
        elif entry := behind.found():
            self.file([entry])
        else:
            self._backlog.drop(behind.candidate, looks=False)
            there = lies_at([behind.candidate.folder], behind.filed)
            if behind.candidate.folder in self._bare and not there:
                self.gone.may_come_back(behind.row.seq)
            else:
                self.gone.passed(behind, there)
                self._was_filed(behind.filed, there)

    def _was_filed(self, filed: Filed, there: Shelved | None) -> None:
        """It is out of the inbox."""
        if there:
            self.shelved.append(there)
        self._durability.moved(filed.seq)

    def settled(self) -> None:
        """The journal has heard of `shelved` and `left`, and of what is lost."""
        self._durability.on_disk([entry.seq for entry in self._left])
        for entry in self._left:
            self._finish(entry, looks=False)
        self.shelved, self._left, self.gone.lost = [], [], {}

    def try_again(self, *, at_once: bool = False) -> None:
        self._hear()
        if not (self._stuck or self._threads.busy):
            self._troubles.cleared("filing")
        if not (self._stuck or self._behind):
            return
        if time.monotonic() < self._next_try and not at_once:
            self._look_at_renewed()
            return
        before = [*self._stuck, *self._behind]
        self._behind, self._asked, self._closed, self._full = [], self._closed, {}, set()
        self._stuck = self._sort(self._attempts(before), told=False)
        # Copying to a full disk costs as much as to an empty one: do it less and less.
        self._pause = FIRST_PAUSE_SECONDS if self._got_on else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._got_on = False
        self._next_try = time.monotonic() + self._pause

    def _look_at_renewed(self) -> None:
        """What was written over since gives way at once to the picture that has its name now."""
        self._stuck, stuck = parted_by_renewal(self._stuck)
        self._behind, behind = parted_by_renewal(self._behind)
        if renewed := [*stuck, *behind]:
            self._stuck.extend(self._sort(self._attempts(renewed), told=True))

    def finish(self) -> None:
        """Try all once more; what is not copied by then is filed in the next life."""
        self.try_again(at_once=True)
        self._threads.finish(seconds=FINISH_SECONDS)
        done = [attempt for attempt in self._threads.take() if not isinstance(attempt.found, StoreError)]
        self._sort(done, told=True)
        self._hear()

    def _hear(self) -> None:
        """Take over what the threads have done."""
        if attempts := self._threads.take():
            self._stuck.extend(self._sort(attempts, told=bool(self._stuck)))
        for behind, there in self._threads.take_passed():
            self.gone.passed(behind, there)
            self._backlog.drop(behind.candidate, looks=False)
        for seq in self._threads.take_away():
            self.gone.may_come_back(seq)
        self.shelved += self._threads.take_shelved()
        self._durability.on_disk(self._threads.take_on_disk())

    def _attempts(self, recorded: Sequence[Recorded]) -> Iterator[Attempt]:
        """Try each.

        Where a place is full or write-protected, one refusal speaks for all of a camera that would go there;
        where a folder is closed, for all in it, and for nothing else. But what was written over since is
        tried: the picture that has its name now waits for it.
        """
        full: dict[object, PlaceError] = {}
        for entry in recorded:
            self._heartbeats.beat(NAME)
            is_renewed = entry.finished.candidate.renewed
            known = None if is_renewed or not (self._closed or full) else self._known(entry, full)
            found = known or self._try(entry)
            if isinstance(found, PlaceError):
                full[held_up_with(entry)] = found
            yield Attempt(entry, found)

    def _known(self, entry: Recorded, full: Mapping[object, PlaceError]) -> PlaceError | FolderError | None:
        """Return what is known to hold it up."""
        return self._closed.get(os.path.dirname(entry.finished.path)) or full.get(held_up_with(entry))

    def _sort(self, attempts: Iterable[Attempt], *, told: bool) -> list[Recorded]:
        """Return what is stuck; the first refusal is told of, unless others are `told` of already."""
        stuck: list[Recorded] = []
        for attempt in attempts:
            try:
                is_stuck = self._is_stuck(attempt, told=told or bool(stuck))
            except Exception as bug:  # noqa: BLE001 - one image's, which is on record: it is tried again
                internal_error(bug, attempt.entry.finished.path, self._troubles)
                is_stuck = True
            if is_stuck:
                stuck.append(attempt.entry)
        self._in_hand.clear(FILING)
        self._refusals.found("filing", [error.folder for error in (self._closed | self._asked).values()])
        return stuck

    def _is_stuck(self, attempt: Attempt, *, told: bool) -> bool:
        crashpoints.reach("in_placing")
        entry, found = attempt.entry, attempt.found
        candidate = entry.finished.candidate
        stays = candidate.folder.settings.after == "keep"
        is_filed = not stays and (found is None or isinstance(found, FiledAt))
        is_lost, has_changed = isinstance(found, str), found == "changed"
        self.gone.was_tried(entry, is_filed=is_filed, is_lost=is_lost, has_changed=has_changed)
        if self._asked and not isinstance(found, LeftToThreadError):
            self._asked.pop(os.path.dirname(candidate.path), None)
        match found:
            case FiledAt() | str() | None:
                self._is_out(attempt, found)
            case LeftToThreadError():
                self._backlog.set_aside(candidate)
                self._threads.put(entry)
            case TooLargeToCopyError():
                log.warning("%s is left in place: %s", as_text(entry.finished.path), found)
                self._left.append(entry)
            case FolderError():
                self._closed[os.path.dirname(entry.finished.path)] = found
                self._behind.append(entry)
                self._backlog.set_aside(candidate)
            case _:
                if not told:
                    self._troubles.raised("filing", found)
                if isinstance(found, PlaceError):
                    self._full.add(candidate.folder)
                self._backlog.set_aside(candidate)
                return True
        return False

    def _is_out(self, attempt: Attempt, found: FiledAt | Gone | None) -> None:
        """It has left its inbox, or stays there for good."""
        entry, candidate = attempt.entry, attempt.entry.finished.candidate
        if found == "changed":
            candidate.again |= not candidate.counted  # of what an earlier life has left no event tells
        elif isinstance(found, str):
            self.gone.note(entry, is_away=found == "away")
        if not attempt.apart:
            if found == "changed":
                self._durability.moved(entry.seq)
            elif not isinstance(found, str):
                self._passed.filed(candidate)
                self._was_filed(filed_of(entry), lies_at([candidate.folder], filed_of(entry), told=found))
            elif found == "gone":
                self._was_filed(filed_of(entry), lies_at([candidate.folder], filed_of(entry)))
        self._finish(entry, looks=not attempt.apart)

    def _finish(self, entry: Recorded, *, looks: bool) -> None:
        self._got_on = True
        candidate = entry.finished.candidate
        if self._in_hand.suspects:
            self._in_hand.acquit(candidate.path)
        if candidate.counted:
            self._backlog.finish(candidate, status_of(entry.finished.record), looks=looks)
        else:
            self._backlog.drop(candidate, looks=looks)

    def _try(self, entry: Recorded) -> Placed:
        """On the recorder's thread."""
        path = entry.finished.path
        suspect = self._in_hand.suspect(path) if self._in_hand.suspects else None
        if suspect and suspect.stage == "file" and not self._in_hand.may_try(suspect):
            fault = f"filing it away crashed the process {suspect.ends} times"
            return StoreError(f"{as_text(path)} is left in place: {fault}")
        if not self._near.is_near(entry):
            return LeftToThreadError()
        self._in_hand.note(FILING, path, "file")
        found = self._filing.without_copying(entry)
        if isinstance(found, LeftToThreadError) and not isinstance(found, LeftToBeReadError):
            self._near.is_not(entry)
        return found
