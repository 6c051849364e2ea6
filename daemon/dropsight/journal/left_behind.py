"""What an earlier life has left to be filed."""

import os
from collections.abc import Sequence

import msgspec

from dropsight import crashpoints
from dropsight.errors import ImageError
from dropsight.files.filesystems import numbers_anew
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.links import inode
from dropsight.journal.filed import Filed
from dropsight.journal.filing import clear_up
from dropsight.journal.kept_files import digest_of_file
from dropsight.journal.reader import RecordedFile
from dropsight.journal.recording import Finished, Recorded
from dropsight.journal.schema import storable
from dropsight.records import Record, decode


class LeftBehind(msgspec.Struct, frozen=True):
    """An image that an earlier life has recorded, and perhaps filed. No scan finds it anew: it is in hand."""

    row: RecordedFile
    candidate: Candidate
    record: Record

    @classmethod
    def of(cls, row: RecordedFile, folders: Sequence[DropFolder], backlog: Backlog) -> "LeftBehind | None":
        """Take it in hand; None where it lies in nobody's inbox any more."""
        path = os.fsdecode(row.path)
        folder = next((folder for folder in folders if folder.wants(path)), None)
        return None if folder is None else cls(row, backlog.hold(folder, path), decode(row.line))

    @property
    def filed(self) -> Filed:
        row = self.row
        return Filed(row.seq, self.candidate.path, row.size, row.mtime_ns, self.record)

    def found(self) -> Recorded | None:
        """Return what is to be filed: the very file that the record was made from; else clear up after it."""
        row, candidate, folder = self.row, self.candidate, self.candidate.folder
        crashpoints.reach_path("in_looking_for", candidate.path)
        stat = _look(folder, candidate.path)
        if stat is None or not (row.is_of(stat) or self._is_dated(stat)):
            candidate.again = stat is not None  # another image, to be looked at
            clear_up(folder, candidate.path, self.record, is_of=row.is_of)
            return None
        candidate.inbox, candidate.digest = inode(folder.inbox.true), row.digest
        return Recorded(row.seq, Finished(candidate, stat, self.record), row.line, 0.0)

    def _is_dated(self, stat: os.stat_result) -> bool:
        """Whether just its time was set since, as uploaders do it (MFMT); then its content tells."""
        row, folder, path = self.row, self.candidate.folder, self.candidate.path
        is_its_file = row.inode == storable(stat.st_ino) or numbers_anew(folder.root)
        if not is_its_file or row.size != stat.st_size or row.digest is None:
            return False
        try:
            return digest_of_file(folder, path, gets_on=lambda: None) == row.digest
        except (OSError, ImageError):  # whoever takes the image finds out
            return False


def _look(folder: DropFolder, path: str) -> os.stat_result | None:
    try:
        return folder.look(path)
    except OSError:
        return None
