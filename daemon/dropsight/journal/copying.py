"""Filing by copying, if a rename is impossible: to another file system, or with a second hard link."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO
from stat import S_ISREG

import msgspec

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.files.beneath import create, look, remove, rename_new, sync
from dropsight.files.disk import BLOCK_BYTES, leave_room
from dropsight.files.original import Original
from dropsight.intake.candidate import COARSEST_NS, digest_of_open

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
PIECE_BYTES = 2**20


class LeftToThreadError(StoreError):
    """A thread of its inbox's own is to file it away: it has to be copied, or lies on another disk."""


class LeftToBeReadError(LeftToThreadError):
    """Or only its content tells whether it is what was read, and that takes long."""


class TooLargeToCopyError(StoreError):
    """It stays where it is for good."""


class Copying(msgspec.Struct, frozen=True):
    """Whether to copy on this thread, and how much; `gets_on` is called for each piece."""

    here: bool = True
    max_bytes: int = sys.maxsize
    gets_on: Callable[[], None] = lambda: None


NO_COPYING = Copying(here=False)


def needs_copy(original: Original, fd: int) -> bool:
    """Whether no rename brings it into this folder; that of another mount of a file system tells itself."""
    stat = original.stat
    return S_ISREG(stat.st_mode) and (stat.st_nlink > 1 or os.fstat(fd).st_dev != stat.st_dev)


def digest_at(fd: int, name: str, gets_on: Callable[[], None]) -> bytes:
    """Return what `digest_of` says of a file's content; raises OSError."""
    with _open(fd, name) as file:
        return digest_of_open(file.fileno(), gets_on=gets_on)


def copy_across(original: Original, fd: int, target: str, *, part: str, copying: Copying) -> bool:
    """Copy into another folder; the original goes only when its copy is on disk under its own name.

    False where the original is another picture by now, which gets a record of its own.
    """
    size = original.stat.st_size
    if size > copying.max_bytes:
        raise TooLargeToCopyError(f"renaming is impossible, and {size} bytes are more than is copied")
    if not copying.here:
        raise LeftToThreadError
    try:
        if not _copy(original, fd, part, copying.gets_on):
            return False
        crashpoints.reach("before_copied")
        copying.gets_on()  # else another life of ours may have it in hand by now
        rename_new(part, target, fd=fd, target_fd=fd)
    except OSError:
        remove(fd, part)
        raise
    sync(fd)
    crashpoints.reach("in_copying")
    if original.delete():
        return True
    remove(fd, target)
    return False


def _copy(original: Original, fd: int, part: str, gets_on: Callable[[], None]) -> bool:
    with _open(original.fd, original.name) as source:
        stat = os.fstat(source.fileno())
        if not original.is_it(stat):
            return False
        # Of one file, its uploader can have any number of names, and each is copied.
        leave_room(fd, min(stat.st_size, stat.st_blocks * BLOCK_BYTES))
        with open(create(fd, part), "wb", buffering=0) as copy:
            _copy_data(source.fileno(), copy.fileno(), stat.st_size, gets_on)
            _mark(copy.fileno(), stat)
            os.fsync(copy.fileno())
    return True


def _mark(copy: int, stat: os.stat_result) -> None:
    """It is ours from now on: what ran as its owner must not run as us.

    On FAT, exFAT or a share that was mounted for another user, everything is that user's, with rights and
    times that we may not change.
    """
    with suppress(PermissionError):
        os.fchmod(copy, stat.st_mode & 0o666)
    with suppress(PermissionError):
        os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _copy_data(source: int, copy: int, size: int, gets_on: Callable[[], None]) -> None:
    """What was there when it was recorded: holes stay holes, and what is added meanwhile is left out."""
    offset = 0
    for start, end in _data(source, size):
        offset = start
        while offset < end and (piece := os.pread(source, min(PIECE_BYTES, end - offset), offset)):
            gets_on()
            offset += os.pwrite(copy, piece, offset)
    os.ftruncate(copy, size)


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where there is something in a file; a file system that does not know calls all of it something."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            start, end = end, size
        yield start, end


def is_copy(original: Original, fd: int, target: str) -> bool:
    """Whether a crash came between the copying and the deletion of the original."""
    there, mine = look(fd, target), original.stat
    if there is None or there.st_size != mine.st_size:
        return False
    if abs(there.st_mtime_ns - mine.st_mtime_ns) > COARSEST_NS:
        return False
    if not (S_ISREG(there.st_mode) and S_ISREG(mine.st_mode)) or os.path.samestat(there, mine):
        return False
    if there.st_dev == mine.st_dev and mine.st_nlink <= 1:
        return False  # it is renamed
    # Cameras with coarse clocks write different pictures of the same size at the same time.
    try:
        with _open(fd, target) as one, _open(original.fd, original.name) as other:
            return _are_equal(one, other)
    except OSError:
        return False


def _are_equal(one: FileIO, other: FileIO) -> bool:
    while piece := one.read(PIECE_BYTES):
        if other.read(PIECE_BYTES) != piece:
            return False
    return not other.read(1)


def _open(fd: int, name: str) -> FileIO:
    return open(os.open(name, _READ, dir_fd=fd), "rb", buffering=0)
