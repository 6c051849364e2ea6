"""Images that were gone when they were to be filed away: one that comes back is on record."""

import logging
import math
import os
import time
from typing import Literal, TypeVar

from dropsight.errors import DamagedError, StoreError
from dropsight.intake.candidate import YOUNG_SECONDS, Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.links import inode
from dropsight.journal.kept_files import has_time_set, is_cut, tells_no_change
from dropsight.journal.left_behind import LeftBehind
from dropsight.journal.reader import JournalReader, RecordedFile, is_another
from dropsight.journal.recording import Finished, Recorded
from dropsight.journal.schema import Shelved, all_storable, storable
from dropsight.names import as_text
from dropsight.records import Record
from dropsight.status.troubles import CHANGED_SECONDS

log = logging.getLogger(__name__)
T = TypeVar("T")

# In all inboxes; the oldest are forgotten first, and would be recorded again.
MOST_GONE = 16_384
# Of what is filed, by whose former name a worker may have it in hand yet.
MOST_FILED = 4_096
_NEVER = None, math.inf, 0

Gone = Literal["gone", "away", "changed"]
"""It is no longer where it was; its whole inbox is away, or another in its place; it was written over."""


def has_no_inbox(candidate: Candidate) -> bool:
    """Whether the inbox that it was found in is away, or another in its place."""
    return candidate.inbox not in {None, inode(candidate.folder.inbox.true)}


def is_bare(folder: DropFolder) -> bool:
    """Whether nothing is in this inbox, as where its disk is not mounted."""
    try:
        with os.scandir(folder.inbox.true) as entries:
            return next(entries, None) is None
    except OSError:
        return True


class GoneImages:
    """For the recorder's thread. Of an earlier life's, the next start thinks by itself."""

    def __init__(self) -> None:
        self._away: dict[int, bool] = {}
        """By seq, whether its whole inbox was away."""
        self._unfiled: dict[int, int] = {}
        """By file, the seqs of what waits in its inbox, stays there, or was gone as it was to be filed."""
        self._filed: dict[int, tuple[int, float, int]] = {}
        """By file, the seqs of what was filed, when in monotonic seconds, and its time of change by then."""
        self._dated: dict[int, int] = {}
        """By inode and size, the seqs of what was read, and may have had its time set since."""
        self._copied: dict[int, int] = {}
        """By path in the inbox and size, the seqs of what may come back as a copy."""
        self.lost: dict[int, bool] = {}
        """By seq, whether its file was gone; the journal has yet to hear of it."""
        self._next_line: dict[DropFolder, float] = {}

    def note(self, entry: Recorded, *, is_away: bool) -> None:
        """It was gone when it was to be filed away, or its whole inbox was."""
        folder = entry.finished.candidate.folder
        _remember(self._away, entry.seq, is_away)
        if is_away:
            _remember(self._copied, _name(entry.record, entry.finished.stat.st_size), entry.seq)
        if is_away and (now := time.monotonic()) >= self._next_line.get(folder, 0.0):
            self._next_line[folder] = now + CHANGED_SECONDS
            text = "%s is away, or another folder is there: images on record are filed once they are back"
            log.warning(text, as_text(folder.root))

    def may_come_back(self, seq: int) -> None:
        """Its disk was not there as an earlier life's was to be filed, or as what was filed was synced."""
        _remember(self._away, seq, True)

    def is_back(self, row: RecordedFile, stat: os.stat_result) -> bool:
        """Whether this is such an image; it is forgotten then, as it is filed away.

        Where its inbox was away it may have come back by another mount, which may number files anew: its
        path, size and time do. Else somebody may have dropped one just like it.
        """
        if row.seq not in self._away or not (self._away[row.seq] or row.is_of_the_very(stat)):
            return False
        del self._away[row.seq]
        return True

    def left_behind(self, row: RecordedFile, record: Record) -> None:
        """An earlier life has recorded this file, and perhaps not filed it."""
        _remember(self._copied, _name(record, row.size), row.seq)
        if row.inode is not None:
            self._note_unfiled(row.seq, row.inode, row.size, row.mtime_ns, digest=row.digest)

    def passed(self, behind: LeftBehind, there: Shelved | None) -> None:
        """It is out of its inbox, and lies filed at this place, if anywhere.

        By chance, its name there or its inode may be another's: both tell. What comes by its name is no copy
        of it, unless it lies there already.
        """
        row = behind.row
        is_filed = there is not None and there.inode == row.inode
        self.lost[row.seq] = not is_filed
        if is_filed and row.inode is not None:
            self._unfiled.pop(_file(row.inode, row.size, row.mtime_ns, digest=row.digest), None)
        if not behind.candidate.again:
            self._copied.pop(_name(behind.record, row.size), None)

    def recall(self, reader: JournalReader) -> None:
        """Of an earlier life: it may have got another name then, or while nothing ran."""
        for seq, is_lost, number, size, mtime_ns, digest in reader.lie_nowhere(of=MOST_GONE):
            if is_lost:
                self._note_unfiled(seq, number, size, mtime_ns, digest=digest)
            else:
                _remember(self._filed, _file(number, size, mtime_ns, digest=digest), (seq, math.inf, 0))
                self._note_dated(seq, number, size)

    def was_tried(self, entry: Recorded, *, is_filed: bool, is_lost: bool, has_changed: bool) -> None:
        """It was to be filed; by one of its names it may be lost, and filed by another.

        `has_changed`: the file that was found is of an image of its own.
        """
        stat = entry.finished.stat
        file = _file_of(entry.finished)
        if is_filed:
            self._unfiled.pop(file, None)
            self._copied.pop(_name(entry.record, stat.st_size), None)
            # A name that it has got since it was read, of who renames by such, was changed by its filing.
            changed_ns = time.time_ns() if stat.st_nlink <= 1 else stat.st_ctime_ns
            filed = entry.seq, time.monotonic(), storable(changed_ns)
            _remember(self._filed, file, filed, most=MOST_FILED)
            self._note_dated(entry.seq, storable(stat.st_ino), stat.st_size)
            if not entry.finished.candidate.counted:
                self.lost[entry.seq] = False
        elif self._filed.get(file, _NEVER)[0] != entry.seq:
            if not has_changed:
                numbers = all_storable(stat.st_ino, stat.st_size, stat.st_mtime_ns)
                self._note_unfiled(entry.seq, *numbers, digest=entry.finished.candidate.digest)
            if is_lost:
                self.lost[entry.seq] = True

    def known(self, finished: Finished, reader: JournalReader) -> RecordedFile | None:
        """Return the record of an image that was read by another path, or is back as a copy.

        It, or its folder, was renamed; which of both names it has now, only its filing finds.
        """
        file, name = _file_of(finished), _name(finished.record, finished.stat.st_size)
        stat = finished.stat
        by_file = self._unfiled.get(file) or self._filed.get(file, _NEVER)[0]
        seqs = by_file, self._dated.get(_body(storable(stat.st_ino), stat.st_size)), self._copied.get(name)
        ways = self._is_its_file, self._is_it_dated, self._is_its_copy
        for seq, is_it in zip(seqs, ways, strict=True):
            if seq and (row := _row(seq, reader)) and is_it(finished, row):
                return row
        return None

    def _is_its_file(self, finished: Finished, row: RecordedFile) -> bool:
        """Whether this is the file of that record, by another path.

        Where its folder was renamed, or it was read by a former name, its time of change is no later, and it
        was found before it was filed: sshfs and exFAT by FUSE keep no time of change. Else it is so only
        if nobody has filed it: somebody may have brought it back, or another have its inode. In doubt the
        content tells.
        """
        stat, digest, folder = finished.stat, finished.candidate.digest, finished.candidate.folder
        if stat.st_nlink > 1 or os.fsencode(finished.path) == row.path or row.changed_ns is None:
            return False
        if not row.is_of(stat) or row.inode != storable(stat.st_ino):
            return False
        changed_ns = storable(stat.st_ctime_ns)
        is_as_it_was = changed_ns == row.changed_ns
        time_ns = changed_ns if is_as_it_was else row.mtime_ns
        if is_another(digest, row.digest) or (time_ns % 10**9 == 0 and None in {digest, row.digest}):
            return False
        file = _file_of(finished)
        is_unfiled = file in self._unfiled
        is_of_this_inbox = row.path.startswith(os.fsencode(folder.root + os.sep))
        if not is_of_this_inbox:  # on a clone of that disk it is another
            return is_as_it_was and is_unfiled
        _, filed_at, filed_ns = self._filed.get(file, _NEVER)
        is_earlier = changed_ns <= max(row.changed_ns, filed_ns) and finished.candidate.found_at <= filed_at
        return is_earlier or is_unfiled or folder.settings.after == "keep"

    def _is_it_dated(self, finished: Finished, row: RecordedFile) -> bool:
        """Whether this is the file of that record, renamed and with its time set since, in either order.

        As uploaders do it, just after they have closed it. Then its content tells.
        """
        stat, digest, folder = finished.stat, finished.candidate.digest, finished.candidate.folder
        if stat.st_nlink > 1 or row.changed_ns is None or row.inode is None or row.is_of(stat):
            return False
        is_of_this_inbox = row.path.startswith(os.fsencode(folder.root + os.sep))
        if not is_of_this_inbox or os.fsencode(finished.path) == row.path:
            return False
        is_it = (storable(stat.st_ino), stat.st_size, digest) == (row.inode, row.size, row.digest)
        file = _file(row.inode, row.size, row.mtime_ns, digest=row.digest)
        was_found_before = finished.candidate.found_at <= self._filed.get(file, _NEVER)[1]
        seconds = (storable(stat.st_ctime_ns) - row.changed_ns) / 10**9
        is_its_time = (seconds <= 0 and was_found_before) or file in self._unfiled
        is_its_time |= folder.settings.after == "keep"
        is_soon = abs(seconds) < YOUNG_SECONDS or (tells_no_change(stat) and seconds < 0)
        return is_it and digest is not None and is_its_time and is_soon and _is_dated(stat, row)

    def _note_unfiled(self, seq: int, inode: int, size: int, mtime_ns: int, *, digest: bytes | None) -> None:
        _remember(self._unfiled, _file(inode, size, mtime_ns, digest=digest), seq)
        self._note_dated(seq, inode, size)

    def _note_dated(self, seq: int, inode: int, size: int) -> None:
        _remember(self._dated, _body(inode, size), seq, most=MOST_FILED)

    def _is_its_copy(self, finished: Finished, row: RecordedFile) -> bool:
        """Whether it is a copy of that record's file, on a disk or out of an archive that cuts times.

        Or on a machine of another name, where its record has another id.
        """
        stat, digest = finished.stat, finished.candidate.digest
        if digest is None or (stat.st_size, digest) != (row.size, row.digest):
            return False
        mtime_ns = storable(stat.st_mtime_ns)
        return is_cut(mtime_ns, of=row.mtime_ns) or (mtime_ns == row.mtime_ns and self.is_back(row, stat))


def _is_dated(stat: os.stat_result, row: RecordedFile) -> bool:
    """Whether the later of both may be the earlier with its time set: else it is another image like it.

    That has its inode as well where the earlier was deleted.
    """
    changed_ns, mtime_ns = storable(stat.st_ctime_ns), storable(stat.st_mtime_ns)
    its_changed_ns = row.changed_ns or 0
    is_later = changed_ns >= its_changed_ns or tells_no_change(stat)
    if is_later and has_time_set(mtime_ns, changed_ns, before=row.mtime_ns):
        return True
    return changed_ns <= its_changed_ns and has_time_set(row.mtime_ns, its_changed_ns, before=mtime_ns)


def _row(seq: int, reader: JournalReader) -> RecordedFile | None:
    try:
        return reader.at(seq)
    except DamagedError:
        raise
    except StoreError:  # whoever commits finds out as well, and waits
        return None


def _remember(known: dict[int, T], key: int, value: T, *, most: int = MOST_GONE) -> None:
    known[key] = value
    if len(known) > most:
        del known[next(iter(known))]


def _file_of(finished: Finished) -> int:
    stat = finished.stat
    return _file(*all_storable(stat.st_ino, stat.st_size, stat.st_mtime_ns), digest=finished.candidate.digest)


def _file(inode: int, size: int, mtime_ns: int, *, digest: bytes | None) -> int:
    """One number is a third of the memory of three; the journal has these.

    Where times are whole seconds, the next image of that size may have the inode, and the time, of one that
    was deleted: there its content is known.
    """
    return hash((inode, size, mtime_ns, digest if mtime_ns % 10**9 == 0 else None))


def _body(inode: int, size: int) -> int:
    return hash((inode, size))


def _name(record: Record, size: int) -> int:
    return hash((record.image_path, size))
