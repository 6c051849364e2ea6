"""What it takes to have names, not only contents, survive a loss of power; and room left to others."""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

# So much of a disk stays free, or this share of a small one: without room for the journal, nothing would ever
# be taken from the inbox.
FREE_BYTES, FREE_FILES, FREE_SHARE = 64 * 2**20, 4_096, 0.05
# Of which `stat` tells the number.
BLOCK_BYTES = 512

_libc = ctypes.CDLL(None, use_errno=True)


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by one that is all there, or not at all, whenever the power goes; raises OSError."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def exchange(path: Path, data: bytes, *, check: Callable[[Path], object]) -> None:
    """Replace somebody's file as `write_whole`, once `check` has passed the new one; raises OSError.

    It has the owner and rights of the old one, which may hold a password; a link that leads to it stays.
    """
    path = path.resolve()
    part, was = path.with_name(path.name + ".part"), path.stat()
    part.unlink(missing_ok=True)
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            with contextlib.suppress(PermissionError):  # of somebody who is not its owner
                os.fchown(file.fileno(), was.st_uid, was.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(was.st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        check(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Have the names in this folder on disk; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(folder: str) -> None:
    """Have everything that was written to this folder's file system on disk; raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(fd)


def sync_file(path: str) -> None:
    """Have this file's content on disk, and its name; raises OSError, also for what is no regular file."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
    sync_folder(os.path.dirname(path))


def leave_room(fd: int, size: int) -> None:
    """Raise OSError of a full disk where so many bytes more would leave too little for the journal.

    In bytes and in files: small ones take up all inodes first. Some disks count none.
    """
    found = os.fstatvfs(fd)
    left = found.f_bavail * found.f_frsize - size
    few = left < min(FREE_BYTES, FREE_SHARE * found.f_blocks * found.f_frsize)
    if few or found.f_favail < min(FREE_FILES, FREE_SHARE * found.f_files):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
