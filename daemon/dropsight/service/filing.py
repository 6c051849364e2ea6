"""Where a finished image goes: moved, deleted or left, and only if it is still the file that was read."""

import contextlib
import errno
import filecmp
import os
import shutil
import stat as kinds
from pathlib import Path

import msgspec

from dropsight import crashpoints
from dropsight.errors import StoreError, is_passing
from dropsight.records import Failure, Record, Result
from dropsight.service.disk import make_folders, sync_folder
from dropsight.service.dropfolder import DropFolder
from dropsight.service.refusals import FolderError, closed_to_us

Identity = tuple[int, int, int, int]  # device, inode, size, mtime_ns
REASON_SUFFIX = ".reason.json"
PART_SUFFIX = ".dropsight-part"
NAME_BYTES = 255
LONGEST_SUFFIX = 16
# The place stands, but what the path asks of it cannot be: a file where a folder is needed, too long a path.
_NO_SUCH_PLACE = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG}
_NO_RIGHT = {errno.EACCES, errno.EPERM}


class PlaceError(StoreError):
    """No finished image at all can go there for now; a plain StoreError speaks of one image only."""


def identity(stat: os.stat_result) -> Identity:
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


class Filing(msgspec.Struct, frozen=True):
    """What to file away, once its record is durable. `line` is the record as logged."""

    folder: DropFolder
    path: str
    identity: Identity
    record: Record
    line: bytes


def file_away(filing: Filing) -> None:
    """Move or delete the image as its folder's settings say; do nothing if it is gone or another by now.

    Raises PlaceError, FolderError or StoreError where there is no room or no right to: the image stays, try
    again later.
    """
    settings = filing.folder.settings
    if settings.after == "keep" or not _unchanged(filing):
        return
    failed = not isinstance(filing.record, Result)
    try:
        if failed:
            _move_to(settings.failed, filing, reason=filing.line)
        elif settings.after == "move":
            _move_to(settings.processed, filing, reason=None)
        else:
            os.unlink(filing.path)
    except OSError as error:
        if not os.path.lexists(filing.path):
            return  # somebody was faster; the record stands
        place = settings.failed if failed else settings.processed
        if error.errno in _NO_RIGHT and (closed := closed_to_us(filing.path, root=filing.folder.root)):
            raise FolderError(closed) from error
        if is_passing(error):
            raise PlaceError(f"{place} takes no finished images: {error.strerror}") from error
        raise StoreError(f"{place} does not take {filing.path}: {error.strerror}") from error


def clear_up(folder: DropFolder, path: str, record: Record) -> None:
    """Take away what a filing cut short may have left; for an image that is gone, or another by now."""
    failed = not isinstance(record, Result)
    top = folder.settings.failed if failed else folder.settings.processed
    wanted = os.path.join(top, folder.relative(path))
    flat = os.path.join(top, os.path.basename(other_name(wanted, record.id)))
    for place in {os.path.dirname(wanted), os.fspath(top)}:
        with contextlib.suppress(OSError):
            os.unlink(_part(place, record))
    if isinstance(record, Failure) and record.error.code != "not_a_file":  # of which a reason is all there is
        for target in (wanted, other_name(wanted, record.id), flat):
            if not os.path.lexists(target):
                _remove_reason(target + REASON_SUFFIX, record)


def _remove_reason(path: str, record: Record) -> None:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        with open(path, "rb") as file:
            ours = msgspec.json.decode(file.read(), type=_Identified).id == record.id
        if ours:
            os.unlink(path)


class _Identified(msgspec.Struct):
    id: str


def _part(folder: str, record: Record) -> str:
    return os.path.join(folder, record.id + PART_SUFFIX)


def _unchanged(filing: Filing) -> bool:
    try:
        return identity(os.lstat(filing.path)) == filing.identity
    except OSError:
        return False


def _move_to(top: Path, filing: Filing, *, reason: bytes | None) -> None:
    wanted = os.path.join(top, filing.folder.relative(filing.path))
    # An earlier image of the same name stays, and a reason must have room beside its image.
    fits = reason is None or len(os.fsencode(os.path.basename(wanted))) + len(REASON_SUFFIX) <= NAME_BYTES
    target = wanted
    if not fits or os.path.lexists(wanted):
        target = other_name(wanted, filing.record.id)
        if _is_copy(wanted, filing) or _is_copy(target, filing):
            os.unlink(filing.path)
            return
    try:
        _move_making_folders(filing, target, reason=reason)
    except OSError as error:
        if error.errno not in _NO_SUCH_PLACE:
            raise
        flat = os.path.join(top, os.path.basename(other_name(wanted, filing.record.id)))
        if _is_copy(flat, filing):
            os.unlink(filing.path)
        else:
            move(filing, flat, reason=reason)


def other_name(target: str, record_id: str) -> str:
    """The name with a part of the id in it, cut so that a reason's name fits beside it."""
    folder, name = os.path.split(target)
    stem, suffix = os.path.splitext(name)
    if len(suffix) > LONGEST_SUFFIX:
        stem, suffix = name, ""
    mark = f".{record_id[:12]}{suffix}"
    room = NAME_BYTES - len(REASON_SUFFIX) - len(os.fsencode(mark))
    return os.path.join(folder, os.fsdecode(os.fsencode(stem)[:room]) + mark)


def _is_copy(target: str, filing: Filing) -> bool:
    """Whether a crash came between copying to another file system and deleting here."""
    device, _, size, mtime_ns = filing.identity
    try:
        there = os.lstat(target)
        if there.st_dev == device or (there.st_size, there.st_mtime_ns) != (size, mtime_ns):
            return False
        if kinds.S_ISLNK(there.st_mode):
            return os.readlink(target) == os.readlink(filing.path)
        # Cameras with coarse clocks write different pictures of the same size at the same time.
        return kinds.S_ISREG(there.st_mode) and filecmp.cmp(target, filing.path, shallow=False)
    except OSError:
        return False


def _move_making_folders(filing: Filing, target: str, *, reason: bytes | None) -> None:
    try:
        move(filing, target, reason=reason)
    except FileNotFoundError:
        make_folders(os.path.dirname(target))
        move(filing, target, reason=reason)


def move(filing: Filing, target: str, *, reason: bytes | None) -> None:
    """Move, the reason first: it stays only with the image that it is of."""
    moved = False
    try:
        if reason is not None:
            _write_reason(target + REASON_SUFFIX, reason)
        crashpoints.reach("in_filing")
        moved = _rename_or_copy(filing, target)
    finally:
        if reason is not None and not moved and not os.path.lexists(target):
            with contextlib.suppress(OSError):
                os.unlink(target + REASON_SUFFIX)


def _rename_or_copy(filing: Filing, target: str) -> bool:
    try:
        return rename_unchanged(filing.path, target, filing.identity)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    return _copy_across(filing, target)


def rename_unchanged(source: str, target: str, expected: Identity) -> bool:
    """Rename; take it back where somebody wrote into the file in the last instant, and tell so."""
    os.rename(source, target)
    # Some network shares number a file anew with its name: its size and time must do.
    if identity(os.lstat(target))[2:] == expected[2:] or os.path.lexists(source):
        return True
    os.rename(target, source)
    return False


def _write_reason(path: str, line: bytes) -> None:
    with open(path, "wb") as file:
        file.write(msgspec.json.format(line, indent=2) + b"\n")


def _copy_across(filing: Filing, target: str) -> bool:
    """Rename across file systems: the source goes only when its copy is on disk under its own name.

    False where the source is another picture by now, which gets a record of its own.
    """
    kind = os.lstat(filing.path).st_mode
    if not (kinds.S_ISREG(kind) or kinds.S_ISLNK(kind)):
        os.unlink(filing.path)  # a pipe, a socket, a device: there is nothing in it to copy, or no end to it
        return True
    part = _part(os.path.dirname(target), filing.record)
    try:
        shutil.copy2(filing.path, part, follow_symlinks=False)
        if not os.path.islink(part):
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        crashpoints.reach("before_copied")
        os.rename(part, target)
        sync_folder(os.path.dirname(target))
        crashpoints.reach("in_copying")
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    unchanged = _unchanged(filing)
    os.unlink(filing.path if unchanged else target)
    return unchanged
