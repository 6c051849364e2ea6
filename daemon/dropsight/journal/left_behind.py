"""What an earlier life has left to be filed."""

import contextlib
import os
from collections.abc import Callable, Sequence

import msgspec

from dropsight import crashpoints
from dropsight.errors import ImageError
from dropsight.files.beneath import look, remove
from dropsight.files.filesystems import numbers_anew
from dropsight.files.original import PART_SUFFIX, REASON_SUFFIX, other_name, settle_private
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.links import inode
from dropsight.journal.filed import Filed
from dropsight.journal.filing import MOST_COMPARED_BYTES
from dropsight.journal.kept_files import digest_of_file, has_time_set
from dropsight.journal.reader import RecordedFile
from dropsight.journal.recording import Finished, Recorded
from dropsight.journal.schema import storable
from dropsight.records import Failure, Record, Result, decode

REASON_BYTES = 2**20


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

    @property
    def may_take_long(self) -> bool:
        """Whether only its content may tell if it is what was read, and there is much of it."""
        return self.row.digest is not None and self.row.size > MOST_COMPARED_BYTES

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
        times = storable(stat.st_mtime_ns), storable(stat.st_ctime_ns)
        if not has_time_set(*times, before=row.mtime_ns):  # it was written anew
            return False
        try:
            return digest_of_file(folder, path, gets_on=lambda: None) == row.digest
        except (OSError, ImageError):  # whoever takes the image finds out
            return False


def clear_up(
    folder: DropFolder, path: str, record: Record, *, is_of: Callable[[os.stat_result], bool]
) -> None:
    """Take away what a filing cut short may have left; for an image that is gone, or another by now.

    `is_of` tells whether the record was made from a file.
    """
    top = folder.processed if isinstance(record, Result) else folder.failed
    below, name = os.path.split(folder.relative(path))
    with contextlib.suppress(OSError), folder.folder_of(path) as fd:
        settle_private(fd, name, record.id, is_of)
    other = other_name(name, record.id)
    for place, targets in ((below, (name, other)), ("", (other,))):
        with contextlib.suppress(OSError), top.inside(place) as fd:
            remove(fd, record.id + PART_SUFFIX)
            # Of what is no file a reason is all there is.
            if isinstance(record, Failure) and record.error.code != "not_a_file":
                for target in targets:
                    _remove_lone_reason(fd, target, record)


def _remove_lone_reason(fd: int, target: str, record: Record) -> None:
    if look(fd, target):
        return
    with contextlib.suppress(OSError, ValueError, RecursionError):  # whoever wrote what lies there
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(target + REASON_SUFFIX, flags, dir_fd=fd), "rb") as file:
            ours = msgspec.json.decode(file.read(REASON_BYTES), type=_Identified).id == record.id
        if ours:
            remove(fd, target + REASON_SUFFIX)


class _Identified(msgspec.Struct):
    id: str


def _look(folder: DropFolder, path: str) -> os.stat_result | None:
    try:
        return folder.look(path)
    except OSError:
        return None
