"""Filing where a rename will not do: to another file system, or of a file that has a second name."""

import os
import shutil
from io import FileIO
from stat import S_ISREG

from dropsight import crashpoints
from dropsight.service.beneath import create, look, remove, rename_new, sync
from dropsight.service.original import Original, identity

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
PIECE_BYTES = 2**20


def copy_across(original: Original, fd: int, target: str, *, part: str) -> bool:
    """Copy into another folder; the original goes only when its copy is on disk under its own name.

    False where the original is another picture by now, which gets a record of its own.
    """
    try:
        if not _copy(original, fd, part):
            return False
        crashpoints.reach("before_copied")
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


def _copy(original: Original, fd: int, part: str) -> bool:
    with _open(original.fd, original.name) as source:
        stat = os.fstat(source.fileno())
        if identity(stat) != identity(original.stat):
            return False
        with open(create(fd, part), "wb", buffering=0) as copy:
            shutil.copyfileobj(source, copy, PIECE_BYTES)
            # It is ours from now on: what ran as its owner must not run as us.
            os.fchmod(copy.fileno(), stat.st_mode & 0o666)
            os.utime(copy.fileno(), ns=(stat.st_atime_ns, stat.st_mtime_ns))
            os.fsync(copy.fileno())
    return True


def is_copy(original: Original, fd: int, target: str) -> bool:
    """Whether a crash came between the copying and the deletion of the original."""
    there, mine = look(fd, target), original.stat
    if there is None or (there.st_size, there.st_mtime_ns) != (mine.st_size, mine.st_mtime_ns):
        return False
    if not (S_ISREG(there.st_mode) and S_ISREG(mine.st_mode)) or os.path.samestat(there, mine):
        return False
    if there.st_dev == mine.st_dev and mine.st_nlink == 1:
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
