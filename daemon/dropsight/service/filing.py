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
from dropsight.records import Record, Result
from dropsight.service.disk import sync_folder
from dropsight.service.dropfolder import DropFolder

Identity = tuple[int, int, int, int]  # device, inode, size, mtime_ns
REASON_SUFFIX = ".reason.json"
PART_SUFFIX = ".dropsight-part"
NAME_BYTES = 255
LONGEST_SUFFIX = 16
# The place stands, but what the path asks of it cannot be: a file where a folder is needed, too long a path.
_NO_SUCH_PLACE = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG}


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

    Raises PlaceError or StoreError where there is no room or no right to: the image stays, try again later.
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
        if is_passing(error):
            raise PlaceError(f"{place} takes no finished images: {error.strerror}") from error
        raise StoreError(f"{place} does not take {filing.path}: {error.strerror}") from error


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
            _move(filing, flat, reason=reason)


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
        _move(filing, target, reason=reason)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _move(filing, target, reason=reason)


def _move(filing: Filing, target: str, *, reason: bytes | None) -> None:
    if reason is not None:
        _write_reason(target + REASON_SUFFIX, reason)
    crashpoints.reach("in_filing")
    try:
        moved = rename_unchanged(filing.path, target, filing.identity)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(filing, target)
        return
    if not moved and reason is not None:
        os.unlink(target + REASON_SUFFIX)


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


def _copy_across(filing: Filing, target: str) -> None:
    """Rename across file systems: the source goes only when its copy is on disk under its own name."""
    kind = os.lstat(filing.path).st_mode
    if not (kinds.S_ISREG(kind) or kinds.S_ISLNK(kind)):
        os.unlink(filing.path)  # a pipe, a socket, a device: there is nothing in it to copy, or no end to it
        return
    part = os.path.join(os.path.dirname(target), filing.record.id + PART_SUFFIX)
    try:
        shutil.copy2(filing.path, part, follow_symlinks=False)
        if not os.path.islink(part):
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        os.rename(part, target)
        sync_folder(os.path.dirname(target))
        crashpoints.reach("in_copying")
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    if _unchanged(filing):
        os.unlink(filing.path)
    else:
        os.unlink(target)  # another picture by now, which gets a record of its own
