"""Moves or deletes a finished image, or leaves it, and only if it is still the file that was read."""

import contextlib
import errno
import os
from collections.abc import Iterator
from functools import partial
from stat import S_ISREG
from typing import Literal

import msgspec

from dropsight import crashpoints
from dropsight.errors import StoreError, is_passing
from dropsight.files.beneath import Top, look, open_folder, remove, sync, write
from dropsight.files.original import (
    NAME_BYTES,
    PART_SUFFIX,
    REASON_SUFFIX,
    FiledAt,
    Identity,
    Original,
    other_name,
)
from dropsight.intake.candidate import has_coarse_time
from dropsight.intake.closed_folders import FolderError, closed_to_us
from dropsight.intake.folder import DropFolder
from dropsight.intake.readiness import writer
from dropsight.journal.copying import (
    Copying,
    LeftToBeReadError,
    LeftToThreadError,
    copy_across,
    digest_at,
    is_copy,
    needs_copy,
)
from dropsight.journal.sidecars import delete_along, move_along
from dropsight.records import Record, Result

PATH_BYTES = 4095
# What is larger, or waits and is tried again and again, is read by a thread of its inbox's own: one inbox's
# images would hold up all others' records.
MOST_COMPARED_BYTES = 4 * 2**20
# The place stands, but what the path asks of it cannot be: a link or a file where a folder is needed, too
# long a path, a name that somebody takes in the last instant.
_NO_SUCH_PLACE = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG}
# Another file system, or a second name; the name is taken.
_NOT_AT_ONCE = {errno.EXDEV, errno.EEXIST}
_NO_RIGHT = {errno.EACCES, errno.EPERM}


class PlaceError(StoreError):
    """No finished image at all can go there for now; a plain StoreError speaks of one image only."""


class Filing(msgspec.Struct, frozen=True):
    """What to file away, once its record is durable. `line` is the record as logged."""

    folder: DropFolder
    path: str
    identity: Identity
    record: Record
    line: bytes
    copying: Copying = Copying()
    digest: bytes | None = None
    """Of what was read, where size and time may not tell."""
    renewed: bool = False
    """Whether it may have been written over since."""
    is_again: bool = False
    """Whether it was tried before."""


def file_away(filing: Filing) -> FiledAt | Literal["gone", "changed"] | None:
    """Move or delete the image as its folder's settings say; do nothing if it is gone or another by now.

    Return where it was put, None where it was put nowhere.

    What is no regular file, a link above all, is deleted, and only its reason filed. Raises PlaceError,
    FolderError or StoreError where there is no room or no right to: the image stays, try again later;
    LeftToThreadError and TooLargeToCopyError as `copying` says.
    """
    folder, settings = filing.folder, filing.folder.settings
    if settings.after == "keep":
        return None
    failed = not isinstance(filing.record, Result)
    root, _ = folder.parent_of(filing.path)
    try:
        fd = open_folder(root)
        try:
            original = _found(filing, fd, root)
            if isinstance(original, str):
                return original
            if failed or settings.after == "move":
                return _move(original, filing, folder.failed if failed else folder.processed) or "gone"
            if not original.delete():
                return "gone"
            if _has_sidecars(folder):
                delete_along(original)
        finally:
            os.close(fd)
    except OSError as error:
        if _is_gone(filing):
            return "gone"  # with its inbox, or somebody was faster; the record stands
        place = folder.failed if failed else folder.processed
        if error.errno in _NO_RIGHT and (closed := closed_to_us(folder, filing.path)):
            raise FolderError(folder.links.true(closed)) from error
        if is_passing(error):
            raise PlaceError(f"{place.path} cannot store finished images: {error.strerror}") from error
        raise StoreError(f"{place.path} cannot store {filing.path}: {error.strerror}") from error
    return None


def _found(filing: Filing, fd: int, root: str) -> Original | Literal["gone", "changed"]:
    """Return the image as it lies there, if it is what was read.

    What somebody has open for writing is as good as gone: what he writes next would go along, on record as
    what was there before. He closes it, and it is looked at again; if he has written nothing, it is back.
    """
    has_content = partial(_has_content, filing) if filing.digest is not None else None
    expected, record_id = filing.identity, filing.record.id
    original = Original.find(fd, filing.path, expected, record_id, root=root, has_content=has_content)
    if original is None or _has_writer(original, filing.folder):
        return "gone"
    if has_content and _is_in_doubt(original, filing):
        # There is no need to read it again and again, unless another picture has its name and waits for it.
        if not filing.renewed and (closed := closed_to_us(filing.folder, filing.path)):
            raise FolderError(filing.folder.links.true(closed))
        takes_long = filing.is_again or original.stat.st_size > MOST_COMPARED_BYTES
        if takes_long and not filing.copying.here:
            raise LeftToBeReadError
        if not has_content(fd, original.name):
            return "changed"
    return original


def _has_content(filing: Filing, fd: int, name: str) -> bool:
    """Whether a file has the content that was read; raises OSError."""
    return digest_at(fd, name, filing.copying.gets_on) == filing.digest


def _has_writer(original: Original, folder: DropFolder) -> bool:
    """Whether somebody has it open for writing, as far as that can be told."""
    if not S_ISREG(original.stat.st_mode) or folder.shares.hold(original.stat):
        return False
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(original.name, flags, dir_fd=original.fd)
    except OSError:
        return False
    try:
        return writer(fd) == "present"
    finally:
        os.close(fd)


def _is_in_doubt(original: Original, filing: Filing) -> bool:
    """Whether only its content tells if it is what was read: its time is coarse, or may be set since."""
    stat = original.stat
    return filing.renewed or has_coarse_time(stat) or stat.st_mtime_ns != filing.identity[3]


def _part(record: Record) -> str:
    return record.id + PART_SUFFIX


def _has_sidecars(folder: DropFolder) -> bool:
    return folder.settings.sidecar_wait_seconds is not None


def _is_gone(filing: Filing) -> bool:
    try:
        filing.folder.look(filing.path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _move(original: Original, filing: Filing, top: Top) -> FiledAt | None:
    """None where it was renamed meanwhile, as while it was copied, or is another by now."""
    below, _, name = filing.folder.relative(filing.path).rpartition(os.sep)
    folder = f"{top.path}/{below}" if below else top.path
    path = f"{folder}/{name}"
    if 4 * len(path) <= PATH_BYTES or len(os.fsencode(path)) <= PATH_BYTES:  # nobody could open a longer one
        try:
            fd = open_folder(f"{top.true}/{below}" if below else top.true, make=True)
            try:
                return _below(folder, _put(original, filing, fd, name))
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _NO_SUCH_PLACE:
                raise
    with _at_the_top(top) as fd:
        return _below(top.path, _put(original, filing, fd, other_name(name, filing.record.id)))


def _below(folder: str, place: FiledAt | None) -> FiledAt | None:
    return place and FiledAt(f"{folder}/{place.path}", place.stat)


@contextlib.contextmanager
def _at_the_top(top: Top) -> Iterator[int]:
    try:
        fd = open_folder(top.true, make=True)
    except NotADirectoryError as error:
        raise PlaceError(f"{top.path} cannot store finished images: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def _put(original: Original, filing: Filing, fd: int, name: str) -> FiledAt | None:
    """Give it a place in this folder, where an earlier image of the same name stays; return its name."""
    if original.has_one_name and isinstance(filing.record, Result) and not _has_sidecars(filing.folder):
        crashpoints.reach("in_filing")
        try:
            return original.move(fd, name)
        except OSError as error:
            if error.errno not in _NOT_AT_ONCE:
                raise
    return _put_with_care(original, filing, fd, name)


def _put_with_care(original: Original, filing: Filing, fd: int, name: str) -> FiledAt | None:
    """As `_put`, of what goes along with others, is to be copied, or whose name is taken."""
    if needs_copy(original, fd) and not filing.copying.here:
        raise LeftToThreadError
    reason = None if isinstance(filing.record, Result) else filing.line
    target = name
    # A reason or a sidecar must have room beside its image.
    alone = reason is None and not _has_sidecars(filing.folder)
    fits = alone or len(os.fsencode(name)) + len(REASON_SUFFIX) <= NAME_BYTES
    if not fits or look(fd, name):
        target = other_name(name, filing.record.id)
        for copied in (name, target):
            if is_copy(original, fd, copied):
                sync(fd)
                original.delete()
                return FiledAt(copied)
    if _has_sidecars(filing.folder):
        move_along(original, fd, target, part=_part(filing.record))
    part = _part(filing.record)
    return put_as(original, fd, target, reason=reason, part=part, copying=filing.copying)


def put_as(
    original: Original,
    fd: int,
    target: str,
    *,
    reason: bytes | None,
    part: str,
    copying: Copying = Copying(),  # noqa: B008 - frozen
) -> FiledAt | None:
    """Move, the reason first: it stays only with the image that it is of. None where that was another."""
    moved = None
    try:
        if reason is not None:
            write(fd, target + REASON_SUFFIX, msgspec.json.format(reason, indent=2) + b"\n", part=part)
        crashpoints.reach("in_filing")
        moved = _take(original, fd, target, part=part, copying=copying)
        return moved
    finally:
        if reason is not None and not moved:
            with contextlib.suppress(OSError):
                if not look(fd, target):
                    remove(fd, target + REASON_SUFFIX)


def _take(original: Original, fd: int, target: str, *, part: str, copying: Copying) -> FiledAt | None:
    if not S_ISREG(original.stat.st_mode):
        # A link would lead those who follow it; in the others there is nothing.
        return FiledAt(target) if original.delete() else None
    if original.has_one_name:
        try:
            return original.move(fd, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    return FiledAt(target) if copy_across(original, fd, target, part=part, copying=copying) else None
