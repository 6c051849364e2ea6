"""What it takes to have names, not only contents, survive a loss of power; and room left to others."""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from dropsight.children import available_bytes
from dropsight.files.filesystems import lies_in_memory

# So much of a disk stays free, or this share of a small one: without room for the journal, nothing would ever
# be taken from the inbox.
FREE_BYTES, FREE_FILES, FREE_SHARE = 64 * 2**20, 4_096, 0.05
_IN_MEMORY = "it lies in memory, of which too little is left (give its tmpfs a smaller size=)"
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
    """Replace somebody's file as `put_at`, wherever a link leads to it, which stays; raises OSError."""
    put_at(path.resolve(), data, check=check)


def put_at(path: Path, data: bytes, *, check: Callable[[Path], object] = lambda _: None) -> None:
    """Replace what has this name as `write_whole`, once `check` has passed the new file; raises OSError.

    It has the owner and rights of a file that was there, which may hold a password. No link is followed: one
    that is there, of a stranger's perhaps, goes; a device or a pipe stays, and is an OSError.
    """
    part, was = path.with_name(path.name + ".part"), _file_at(path)
    part.unlink(missing_ok=True)
    try:
        with open(
            part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600 if was else 0o666)
        ) as file:
            if was:
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


def _file_at(path: Path) -> os.stat_result | None:
    """Return what is there where it is a regular file, no link; raises OSError for what is neither."""
    found = path.lstat() if os.path.lexists(path) else None
    if not found or stat.S_ISLNK(found.st_mode):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise FileExistsError(errno.EEXIST, "not a file, which another could replace", str(path))
    return found


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Have the names in this folder on disk; raises OSError with its path."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_names(fd)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def sync_names(fd: int) -> None:
    """As `sync_folder`, of one that is open for reading; raises OSError.

    Some file systems, such as VirtualBox's shared folders, have no such call: EINVAL, now and later.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


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

    In bytes and in files: small ones take up all inodes first. Some disks count none, or none as free, as
    rclone's; one that has none left says so itself. Where it lies in memory there must be so much left of
    that, too: beyond its bound the kernel ends the service.
    """
    found = os.fstatvfs(fd)
    left = found.f_bavail * found.f_frsize - size
    few = left < min(FREE_BYTES, FREE_SHARE * found.f_blocks * found.f_frsize)
    if few or 0 < found.f_favail < min(FREE_FILES, FREE_SHARE * found.f_files):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if lies_in_memory(fd) and available_bytes() < size + FREE_BYTES:
        raise OSError(errno.ENOSPC, _IN_MEMORY)
