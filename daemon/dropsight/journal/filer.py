"""Files away what is on record; what cannot be filed yet is retried, less and less often."""

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.files.disk import sync_folder
from dropsight.files.original import FiledAt, identity
from dropsight.intake.aside import MOST_ASIDE
from dropsight.intake.backlog import Backlog
from dropsight.intake.closed_folders import FolderError, Refusals, closed_to_us
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import FILING, InHand
from dropsight.intake.slow_inboxes import SLOW_SECONDS
from dropsight.journal.copier import Attempt, Copiers, Placed
from dropsight.journal.copying import NO_COPYING, Copying, CopyLaterError, TooLargeToCopyError
from dropsight.journal.durability import Durability
from dropsight.journal.empty_folders import PassedFolders
from dropsight.journal.filed import Filed, lies_at
from dropsight.journal.filing import Filing, PlaceError, file_away
from dropsight.journal.gone_images import GoneImages
from dropsight.journal.kept_files import Kept
from dropsight.journal.mishaps import internal_error
from dropsight.journal.recording import Recorded, filed_of, place_of, stays_as
from dropsight.journal.schema import Shelved
from dropsight.names import as_text
from dropsight.records import status_of
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.troubles import Troubles
from dropsight.video.decoder import MOST_BYTES

log = logging.getLogger(__name__)

NAME = "recorder"
# Of the time that a supervisor grants for stopping.
FINISH_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
# Further ones, of all that are no better off, are neither read nor held in memory.
MOST = 4_096


class Filer:
    """Used by the recorder's thread alone, but for `refuses`; copying has a thread of its own.

    `beat` is called for every file, and with the copier's name for every piece of a copy; `nudge` when a copy
    is made.
    """

    def __init__(
        self,
        backlog: Backlog,
        troubles: Troubles,
        refusals: Refusals,
        durability: Durability,
        *,
        in_hand: InHand,
        heartbeats: Heartbeats,
        nudge: Callable[[], None],
        max_copy_bytes: int,
    ) -> None:
        self._backlog, self._troubles, self._refusals = backlog, troubles, refusals
        self._durability, self._in_hand, self._heartbeats = durability, in_hand, heartbeats
        self._max_copy_bytes = max_copy_bytes
        self._slow = backlog.slow
        self._copier = Copiers(backlog.slow, self._copy, done=nudge, heartbeats=heartbeats)
        self._on_disk: set[int] = set()
        """Filed on a slow disk, and synced there."""
        self._stuck: list[Recorded] = []
        self._behind: list[Recorded] = []
        """Images in folders that are closed to us."""
        self._closed: dict[str, FolderError] = {}
        """Folders with such images in them."""
        self._full: set[DropFolder] = set()
        """Watched folders whose finished images have no place to go to."""
        self._pause, self._next_try, self._got_on = FIRST_PAUSE_SECONDS, 0.0, False
        self.shelved: list[Shelved] = []
        """Where they lie now; the journal has yet to hear of it."""
        self._left: list[Recorded] = []
        self._passed = PassedFolders()
        self.gone = GoneImages()

    @property
    def at_rest(self) -> bool:
        return not (self._stuck or self._behind or self._copier.busy or self._left)

    @property
    def left(self) -> list[Kept]:
        """What stays in its folder for good; the journal has yet to hear of it."""
        return [stays_as(entry.finished) for entry in self._left]

    def refuses(self, folder: DropFolder, path: str) -> bool:
        """Whether to leave this image where it is: too many wait to be filed away. From any thread."""
        if not (self._stuck or self._behind or self._copier.busy):
            return False
        waiting = len(self._stuck) + len(self._behind) + self._copier.busy
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

    def was_filed(
        self,
        filed: Filed,
        folders: Sequence[DropFolder],
        *,
        above: str | None = None,
        told: FiledAt | None = None,
    ) -> None:
        """It is out of the inbox; `above` is what folders were in that are gone now, `told` its new place."""
        if filed.seq in self._on_disk:
            self._on_disk.remove(filed.seq)
            if there := lies_at(folders, filed, told=told):
                self.shelved.append(there)
            self._durability.on_disk(filed.seq)
            return
        places = [filed.path.rpartition(os.sep)[0]]
        if above:
            places.append(above)
        if there := lies_at(folders, filed, told=told):
            self.shelved.append(there)
            places.append(os.fsdecode(there.place))
        self._durability.moved(filed.seq, *places)

    def settled(self) -> None:
        """The journal has heard of `shelved` and `left`."""
        for entry in self._left:
            self._durability.moved(entry.seq, os.path.dirname(entry.finished.path))
            self._finish(entry)
        self.shelved, self._left = [], []

    def try_again(self, *, at_once: bool = False) -> None:
        if copied := self._copier.take():
            self._stuck.extend(self._sort(copied, told=bool(self._stuck)))
        if not (self._stuck or self._copier.busy):
            self._troubles.cleared("filing")
        before = [*self._stuck, *self._behind]
        if not before or (time.monotonic() < self._next_try and not at_once):
            return
        self._behind, self._closed, self._full = [], {}, set()
        self._stuck = self._sort(self._attempts(before), told=False)
        # Copying to a full disk costs as much as to an empty one: do it less and less.
        self._pause = FIRST_PAUSE_SECONDS if self._got_on else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._got_on = False
        self._next_try = time.monotonic() + self._pause

    def finish(self) -> None:
        """Try all once more; what is not copied by then is filed in the next life."""
        self.try_again(at_once=True)
        self._copier.finish(seconds=FINISH_SECONDS)
        copied = [entry for entry in self._copier.take() if not isinstance(entry[1], StoreError)]
        self._sort(copied, told=True)

    def _attempts(self, recorded: Sequence[Recorded]) -> Iterator[Attempt]:
        """Try each.

        Where a place is full or write-protected, one refusal speaks for all that would go there; where a
        folder is closed, for all in it, and for nothing else.
        """
        full: dict[object, PlaceError] = {}
        until = time.monotonic() + SLOW_SECONDS
        for entry in recorded:
            self._heartbeats.beat(NAME)
            closed = self._closed and self._closed.get(os.path.dirname(entry.finished.path))
            found = closed or (full and full.get(place_of(entry))) or self._try(entry, until=until)
            if isinstance(found, PlaceError):
                full[place_of(entry)] = found
            yield entry, found

    def _sort(self, attempts: Iterable[Attempt], *, told: bool) -> list[Recorded]:
        """Return what is stuck; the first refusal is told of, unless others are `told` of already."""
        stuck: list[Recorded] = []
        for entry, found in attempts:
            try:
                is_stuck = self._is_stuck(entry, found, told=told or bool(stuck))
            except Exception as bug:  # noqa: BLE001 - one image's, which is on record: it is tried again
                internal_error(bug, entry.finished.path, self._troubles)
                is_stuck = True
            if is_stuck:
                stuck.append(entry)
        self._in_hand.clear(FILING)
        self._refusals.found("filing", [error.folder for error in self._closed.values()])
        return stuck

    def _is_stuck(self, entry: Recorded, found: Placed, *, told: bool) -> bool:
        crashpoints.reach("in_placing")
        match found:
            case "gone":
                if not self.gone.note(entry):
                    self.was_filed(filed_of(entry), [entry.finished.candidate.folder])
                self._finish(entry)
            case FiledAt() | None:
                candidate = entry.finished.candidate
                above = None if self._slow.holds(candidate.folder) else self._passed.filed(candidate)
                self.was_filed(filed_of(entry), [candidate.folder], above=above, told=found)
                self._finish(entry)
            case CopyLaterError():
                self._backlog.set_aside(entry.finished.candidate)
                self._copier.put(entry)
            case TooLargeToCopyError():
                log.warning("%s is left in place: %s", as_text(entry.finished.path), found)
                self._left.append(entry)
            case FolderError():
                self._closed[os.path.dirname(entry.finished.path)] = found
                self._behind.append(entry)
                self._backlog.set_aside(entry.finished.candidate)
            case _:
                if not told:
                    self._troubles.raised("filing", found)
                if isinstance(found, PlaceError):
                    self._full.add(entry.finished.candidate.folder)
                self._backlog.set_aside(entry.finished.candidate)
                return True
        return False

    def _finish(self, entry: Recorded) -> None:
        self._got_on = True
        candidate = entry.finished.candidate
        if self._in_hand.suspects:
            self._in_hand.acquit(candidate.path)
        if candidate.counted:
            self._backlog.finish(candidate, status_of(entry.finished.record))
        else:
            self._backlog.drop(candidate)

    def _copy(self, entry: Recorded) -> Placed:
        """On the copier's thread.

        It is not noted as in hand: reading and writing ends no process, and of slow disks the same image
        would be in hand at each of several deaths from outside.
        """
        folder, name = entry.finished.candidate.folder, threading.current_thread().name
        is_clip = entry.finished.record.kind == "clip"
        most = MOST_BYTES if is_clip else self._max_copy_bytes
        found = self._put(entry, Copying(max_bytes=most, gets_on=partial(self._copies, name)))
        if isinstance(found, FiledAt) and self._slow.holds(folder):
            with contextlib.suppress(OSError):  # the recorder will try
                for path in (entry.finished.path, found.path):
                    sync_folder(os.path.dirname(path))
                self._on_disk.add(entry.seq)
                return found._replace(stat=found.stat or os.lstat(found.path))
        return found

    def _copies(self, name: str) -> None:
        self._heartbeats.beat(name)
        if self._copier.stopping:
            raise InterruptedError(errno.EINTR, "stopped")

    def _try(self, entry: Recorded, *, until: float) -> Placed:
        """On the recorder's thread: all but copying, what is slow, and what lies elsewhere after so long."""
        candidate, path = entry.finished.candidate, entry.finished.path
        suspect = self._in_hand.suspect(path) if self._in_hand.suspects else None
        if suspect and suspect.stage == "file" and not self._in_hand.may_try(suspect):
            fault = f"filing it away crashed the process {suspect.ends} times"
            return StoreError(f"{as_text(path)} is left in place: {fault}")
        is_late = time.monotonic() > until and not self._slow.is_own(entry.finished.stat)
        if is_late or self._slow.holds(candidate.folder):
            return CopyLaterError()
        self._in_hand.note(FILING, path, "file")
        with self._slow.at_work(candidate.folder):
            return self._put(entry, NO_COPYING)

    def _put(self, entry: Recorded, copying: Copying) -> Placed:
        candidate, stat, record = entry.finished.candidate, entry.finished.stat, entry.finished.record
        try:
            crashpoints.reach_path("in_filing_away", candidate.path)
            return file_away(
                Filing(candidate.folder, candidate.path, identity(stat), record, entry.line, copying)
            )
        except StoreError as error:
            return error
        except Exception as error:  # noqa: BLE001 - one image's, which is on record: it is tried again
            failure = internal_error(error, candidate.path, self._troubles)
            return StoreError(f"{as_text(candidate.path)} cannot be filed away: {failure}")
