"""Where a finished image goes: moved, deleted or left, and only if it is still the file that was read."""

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.records import Record, Result
from dropsight.service.dropfolder import DropFolder

Identity = tuple[int, int, int, int]  # device, inode, size, mtime_ns
REASON_SUFFIX = ".reason.json"
PART_SUFFIX = ".dropsight-part"


def identity(stat: os.stat_result) -> Identity:
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Filing:
    """What to file away, once its record is durable. `line` is the record as logged."""

    folder: DropFolder
    path: str
    identity: Identity
    record: Record
    line: bytes


def file_away(filing: Filing) -> None:
    """Move or delete the image as its folder's settings say; do nothing if it is gone or another by now.

    Raises StoreError where there is no room or no right to: the image stays, try again later.
    """
    settings = filing.folder.settings
    if settings.after == "keep" or not _unchanged(filing):
        return
    failed = not isinstance(filing.record, Result)
    try:
        if failed:
            _move_to(settings.failed, filing, reason=True)
        elif settings.after == "move":
            _move_to(settings.processed, filing, reason=False)
        else:
            os.unlink(filing.path)
    except OSError as error:
        if not os.path.lexists(filing.path):
            return  # somebody was faster; the record stands
        place = settings.failed if failed else settings.processed
        raise StoreError(f"{place} takes no finished images: {error.strerror}") from error


def _unchanged(filing: Filing) -> bool:
    try:
        return identity(os.lstat(filing.path)) == filing.identity
    except OSError:
        return False


def _move_to(top: Path, filing: Filing, *, reason: bool) -> None:
    wanted = os.path.join(top, filing.folder.relative(filing.path))
    if any(_is_copy(name, filing) for name in (wanted, other_name(wanted, filing.record.id))):
        os.unlink(filing.path)
        return
    # An earlier image of the same name stays.
    target = other_name(wanted, filing.record.id) if os.path.lexists(wanted) else wanted
    try:
        _move(filing.path, target, reason=filing.line if reason else None)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _move(filing.path, target, reason=filing.line if reason else None)


def other_name(target: str, record_id: str) -> str:
    stem, suffix = os.path.splitext(target)
    return f"{stem}.{record_id[:12]}{suffix}"


def _is_copy(target: str, filing: Filing) -> bool:
    """Whether a crash came between copying to another file system and deleting here."""
    device, _, size, mtime_ns = filing.identity
    try:
        there = os.lstat(target)
    except OSError:
        return False
    return there.st_dev != device and (there.st_size, there.st_mtime_ns) == (size, mtime_ns)


def _move(source: str, target: str, *, reason: bytes | None) -> None:
    if reason is not None:
        _write_reason(target + REASON_SUFFIX, reason)
    crashpoints.reach("in_filing")
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(source, target)


def _write_reason(path: str, line: bytes) -> None:
    with open(path, "wb") as file:
        file.write(msgspec.json.format(line, indent=2) + b"\n")


def _copy_across(source: str, target: str) -> None:
    """Rename across file systems: the source goes only when its copy is on disk under its own name."""
    part = target + PART_SUFFIX
    try:
        shutil.copy2(source, part, follow_symlinks=False)
        if not os.path.islink(part):
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        os.rename(part, target)
        _sync_folder(os.path.dirname(target))
        crashpoints.reach("in_copying")
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    os.unlink(source)


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
