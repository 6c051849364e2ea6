"""Filing away by threads of the inboxes': what lies on another disk than the journal, or has to be copied."""

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from dropsight.errors import StoreError
from dropsight.files.original import FiledAt
from dropsight.files.reserve import Reserve
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.links import inode
from dropsight.journal.durability import SYNC_SECONDS, Syncing
from dropsight.journal.empty_folders import PassedFolders
from dropsight.journal.filed import Filed, lies_at
from dropsight.journal.filing import PlaceError
from dropsight.journal.filing_recorded import Placed, RecordedFiling
from dropsight.journal.gone_images import Gone, is_bare
from dropsight.journal.inbox_threads import InboxThreads, Work
from dropsight.journal.left_behind import LeftBehind
from dropsight.journal.recording import Recorded, filed_of, held_up_with
from dropsight.journal.schema import Shelved
from dropsight.names import as_text
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision

NAME = "filing away of"
# For whoever is to break off a copy.
GRACE_SECONDS = 1.0
T = TypeVar("T")


class Attempt(NamedTuple):
    """What became of an image that was to be filed away; `apart`: a thread sees to all that follows."""

    entry: Recorded
    found: Placed
    apart: bool = False


class FilingThreads:
    """For the recorder's thread, which asks what came of it; what is set aside bounds how much there is."""

    def __init__(
        self,
        filing: RecordedFiling,
        syncing: Syncing,
        supervision: Supervision,
        *,
        heartbeats: Heartbeats,
        reserve: Reserve,
        nudge: Callable[[], None],
    ) -> None:
        self._results = results = _Results(heartbeats, nudge)

        def work_for(folder: DropFolder) -> Work[Recorded | LeftBehind]:
            return _InboxFiling(folder, filing, syncing, supervision, results).work

        self._threads: InboxThreads[Recorded | LeftBehind] = InboxThreads(
            NAME, work_for, heartbeats=heartbeats, reserve=reserve, done=nudge
        )
        self.busy = 0
        """How many were put and not taken back yet."""

    def put(self, entry: Recorded) -> None:
        """Have it filed away."""
        self.busy += 1
        self._threads.put(entry.finished.candidate.folder, entry)

    def look_for(self, behind: LeftBehind) -> None:
        """Have it filed away, or found where an earlier life has filed it, and synced there."""
        self.busy += 1
        self._threads.put(behind.candidate.folder, behind)

    def take(self) -> list[Attempt]:
        """Return what was tried since."""
        self._threads.begin()
        attempts = _all_of(self._results.attempts)
        self.busy -= len(attempts)
        return attempts

    def take_passed(self) -> list[tuple[LeftBehind, Shelved | None]]:
        """Return what was looked for since, and is not in its inbox, and where it lies filed, if anywhere."""
        passed = _all_of(self._results.passed)
        self.busy -= len(passed)
        return passed

    def take_away(self) -> list[int]:
        """Return the seqs of images that may come back with their disk."""
        return _all_of(self._results.away)

    def take_shelved(self) -> list[Shelved]:
        """Return where images lie since."""
        return _all_of(self._results.shelved)

    def take_on_disk(self) -> list[int]:
        """Return the seqs of images that, since, are where they belong for good."""
        return _all_of(self._results.on_disk)

    def finish(self, *, seconds: float) -> None:
        """Wait so long for what was put, then break it off: what is not done has its next start."""
        self._results.ending = True
        until = time.monotonic() + seconds
        self._threads.finish(until=until)
        self._results.over = True
        self._threads.finish(until=until + GRACE_SECONDS)


def _all_of(found: SimpleQueue[T]) -> list[T]:
    return [found.get() for _ in range(found.qsize())]


class _Results:
    """What the recorder's thread has yet to hear, and how long it waits for that."""

    def __init__(self, heartbeats: Heartbeats, nudge: Callable[[], None]) -> None:
        self._heartbeats, self.nudge = heartbeats, nudge
        self.attempts: SimpleQueue[Attempt] = SimpleQueue()
        self.passed: SimpleQueue[tuple[LeftBehind, Shelved | None]] = SimpleQueue()
        self.away: SimpleQueue[int] = SimpleQueue()
        self.shelved: SimpleQueue[Shelved] = SimpleQueue()
        self.on_disk: SimpleQueue[int] = SimpleQueue()
        self.ending = self.over = False

    def gets_on(self) -> None:
        """A piece was copied; raises InterruptedError where there is no time for another."""
        self._heartbeats.beat(threading.current_thread().name)
        if self.over:
            raise InterruptedError(errno.EINTR, "stopped")


class _InboxFiling:
    """For an inbox's thread."""

    def __init__(
        self,
        folder: DropFolder,
        filing: RecordedFiling,
        syncing: Syncing,
        supervision: Supervision,
        results: _Results,
    ) -> None:
        self._folder, self._filing, self._syncing, self._results = folder, filing, syncing, results
        self._contained = supervision.contained(f"{NAME} {as_text(folder.root)}")
        self._passed = PassedFolders()
        self._moved: dict[int, Candidate] = {}
        self._places: set[str] = set()
        self._next_sync = 0.0
        self._is_bare: bool | None = None

    def work(self, jobs: Sequence[Recorded | LeftBehind]) -> float | None:
        """File these away; return in how many seconds to sync what was moved."""
        # Copying to a full disk costs as much as to an empty one: once for all of a camera that wait.
        full: dict[object, PlaceError] = {}
        for each in jobs:
            if self._results.over:
                return None
            job = self._found(each) if isinstance(each, LeftBehind) else each
            if job is None:
                continue
            is_renewed = job.finished.candidate.renewed  # what has its name now waits for it
            known = None if is_renewed else full.get(held_up_with(job))
            found = known or self._filing.whole(job, self._results.gets_on)
            if isinstance(found, PlaceError):
                full[held_up_with(job)] = found
            elif not (found == "away" or isinstance(found, StoreError)):
                self._is_out(job, found)
            self._results.attempts.put(Attempt(job, found, apart=True))
            self._results.nudge()
        return self._sync_if_due()

    def _found(self, behind: LeftBehind) -> Recorded | None:
        if self._is_bare is None:  # before anything of it is filed
            self._is_bare = is_bare(self._folder)
        there = None
        with self._contained:
            if entry := behind.found():
                return entry
            there = lies_at([self._folder], behind.filed)
            if self._is_bare and not there:
                self._results.away.put(behind.row.seq)
            else:
                self._note(behind.filed, behind.candidate)
        self._results.passed.put((behind, there))
        self._results.nudge()
        return None

    def _is_out(self, entry: Recorded, found: FiledAt | Gone | None) -> None:
        if found == "changed":
            self._moves(entry.seq, entry.finished.candidate)
            return
        told = None if isinstance(found, str) else found
        with self._contained:
            if not isinstance(found, str) and (above := self._passed.filed(entry.finished.candidate)):
                self._places.add(above)
        self._note(filed_of(entry), entry.finished.candidate, told)

    def _note(self, filed: Filed, candidate: Candidate, told: FiledAt | None = None) -> None:
        self._moves(filed.seq, candidate)
        with self._contained:
            if there := lies_at([self._folder], filed, told=told):
                self._results.shelved.put(there)
                self._places.add(os.path.dirname(os.fsdecode(os.path.join(there.place, there.name))))

    def _moves(self, seq: int, candidate: Candidate) -> None:
        if not self._moved:
            self._next_sync = time.monotonic() + SYNC_SECONDS
        self._moved[seq] = candidate
        self._places.add(os.path.dirname(candidate.path))

    def _sync_if_due(self) -> float | None:
        if not self._moved:
            return None
        left = self._next_sync - time.monotonic()
        if left > 0 and not self._results.ending:
            return left
        with self._contained:
            is_synced = self._syncing.names(self._folder, self._places)
            inbox = inode(self._folder.inbox.true)
            for seq, candidate in self._moved.items():
                # A disk that was pulled out before its kernel wrote to it has the image in the inbox again.
                if not is_synced or candidate.inbox not in {None, inbox}:
                    self._results.away.put(seq)
                if is_synced:
                    self._results.on_disk.put(seq)
            if is_synced:
                self._moved, self._places = {}, set()
                return None
        self._next_sync = time.monotonic() + SYNC_SECONDS
        return None if self._results.ending else SYNC_SECONDS
