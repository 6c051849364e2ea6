"""Images that were gone when they were to be filed away: one that comes back is on record."""

import logging
import os
import time
from typing import Literal

from dropsight.errors import DamagedError, StoreError
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.links import inode
from dropsight.journal.reader import JournalReader, RecordedFile
from dropsight.journal.recording import Finished, Recorded, is_another
from dropsight.journal.schema import storable
from dropsight.names import as_text
from dropsight.status.troubles import CHANGED_SECONDS

log = logging.getLogger(__name__)

# In all inboxes; the oldest are forgotten first, and would be recorded again.
MOST_GONE = 16_384


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
        self._unfiled: dict[tuple[int, int], int] = {}
        """By inode and time of change, the seqs of what could not be filed, or was gone by then."""
        self._next_line: dict[DropFolder, float] = {}

    def note(self, entry: Recorded, *, is_away: bool) -> None:
        """It was gone when it was to be filed away, or its whole inbox was."""
        folder = entry.finished.candidate.folder
        self._note(entry.seq, is_away=is_away)
        if is_away and (now := time.monotonic()) >= self._next_line.get(folder, 0.0):
            self._next_line[folder] = now + CHANGED_SECONDS
            text = "%s is away, or another folder is there: images on record are filed once they are back"
            log.warning(text, as_text(folder.root))

    def may_come_back(self, seq: int) -> None:
        """Its disk was not there as an earlier life's was to be filed, or as what was filed was synced."""
        self._note(seq, is_away=True)

    def _note(self, seq: int, *, is_away: bool) -> None:
        self._away[seq] = is_away
        if len(self._away) > MOST_GONE:
            del self._away[next(iter(self._away))]

    def is_back(self, row: RecordedFile, stat: os.stat_result) -> bool:
        """Whether this is such an image; it is forgotten then, as it is filed away.

        Where its inbox was away it may have come back by another mount, which may number files anew: its
        path, size and time do. Else somebody may have dropped one just like it.
        """
        if row.seq not in self._away or not (self._away[row.seq] or row.is_of_the_very(stat)):
            return False
        del self._away[row.seq]
        return True

    def could_not_be_filed(self, seq: int, inode: int, changed_ns: int) -> None:
        """The folder above this file may get another name before it is filed."""
        self._unfiled[inode, changed_ns] = seq
        if len(self._unfiled) > MOST_GONE:
            del self._unfiled[next(iter(self._unfiled))]

    def recall(self, reader: JournalReader) -> None:
        """Of an earlier life: its folder may have got another name then, or while nothing ran."""
        for gone in reader.lie_nowhere(of=MOST_GONE):
            self.could_not_be_filed(*gone)

    def was_filed(self, stat: os.stat_result) -> None:
        self._unfiled.pop(_file(stat), None)

    def renamed(self, finished: Finished, reader: JournalReader) -> RecordedFile | None:
        """Return the record of an image that has another path since its folder was renamed.

        Its time of change is as it was, unlike that of a file which itself is renamed: that one may have been
        moved elsewhere for good, and another have its inode.
        """
        seq = self._unfiled.get(_file(finished.stat))
        if seq is None or finished.stat.st_nlink > 1:
            return None
        try:
            row = reader.at(seq)
        except DamagedError:
            raise
        except StoreError:  # whoever commits finds out as well, and waits
            return None
        return row if row and _is_at_another_path(finished, row) else None


def _file(stat: os.stat_result) -> tuple[int, int]:
    return storable(stat.st_ino), storable(stat.st_ctime_ns)


def _is_at_another_path(finished: Finished, row: RecordedFile) -> bool:
    stat, digest = finished.stat, finished.candidate.digest
    if os.fsencode(finished.path) == row.path or not (row.is_of(stat) and row.is_of_the_very(stat)):
        return False
    is_coarse = stat.st_ctime_ns % 10**9 == 0 and None in {digest, row.digest}
    return not (is_coarse or is_another(digest, row.digest))
