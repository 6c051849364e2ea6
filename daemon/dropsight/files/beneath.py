"""Folders that strangers can write to, gone into by descriptors: no link is followed, nothing is replaced."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import TracebackType
from typing import TypeAlias

import msgspec

from dropsight.files.disk import sync_names

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPENAT2 = 437  # the same on every architecture
_HERE = -100  # AT_FDCWD
_NO_SYMLINKS = 0x04
_NO_REPLACE = 1
_NO_FOLLOW, _BIRTH = 0x100, 0x800
# Kernels, filters of system calls and file systems that know of no such thing.
_UNKNOWN = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
_LINK = "a link or a file is now where a folder was at the start"

Listing: TypeAlias = Iterator[os.DirEntry[str]]

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _Statx(ctypes.Structure):
    """Of statx(2)'s, the time of birth."""

    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("_before", ctypes.c_char * 76),
        ("seconds", ctypes.c_int64),
        ("nanoseconds", ctypes.c_uint32),
        ("_behind", ctypes.c_char * 164),
    )


_HOW = _How(_FOLDER, 0, _NO_SYMLINKS)
_HOW_AT, _HOW_BYTES = ctypes.byref(_HOW), ctypes.sizeof(_HOW)
_libc.syscall.argtypes = (
    ctypes.c_long,
    ctypes.c_long,
    ctypes.c_char_p,
    ctypes.POINTER(_How),
    ctypes.c_size_t,
)
_libc.syscall.restype = ctypes.c_long


class OpenFolder:
    """For one `with`, which gives its descriptor and closes it."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> int:
        return self._fd

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


class Top(msgspec.Struct, frozen=True):
    """A folder of the config, and where it truly was at the start: a link put there later leads nowhere."""

    path: str
    true: str

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "Top":
        return cls(os.fspath(path), os.path.realpath(path))

    def below(self, path: str | os.PathLike[str]) -> "Top":
        """As `at`; but what lies in this folder, which strangers write to, was never reached by a link."""
        named = os.fspath(path)
        if named.startswith(self.path + os.sep):
            return Top(named, self.true + named[len(self.path) :])
        return Top.at(named)

    def inside(self, relative: str = "", *, make: bool = False) -> OpenFolder:
        """Open the folder or one below it; raises NotADirectoryError at a link."""
        return OpenFolder(open_folder(f"{self.true}/{relative}" if relative else self.true, make=make))

    @contextmanager
    def listed(self, relative: str = "") -> Iterator[Listing]:
        """Give what lies in the folder or in one below it; raises as `inside`."""
        with listed(f"{self.true}/{relative}" if relative else self.true) as (_, entries):
            yield entries


@contextmanager
def listed(path: str) -> Iterator[tuple[int, Listing]]:
    """Give a descriptor of a folder, reached through no link at all, and what lies in it.

    Entries have no path, and tell of what they are by that descriptor: as long as it is open.
    """
    fd = open_folder(path)
    try:
        readable = os.open(".", _READABLE, dir_fd=fd)
    finally:
        os.close(fd)
    try:
        with os.scandir(readable) as entries:
            yield readable, entries
    finally:
        os.close(readable)


@lru_cache(maxsize=64)  # the same few folders over and over
def _encoded(folder: str) -> bytes:
    return os.fsencode(folder)


def open_folder(path: str, *, make: bool = False) -> int:
    """Open an absolute path through no link at all, making what is missing."""
    fd = _libc.syscall(_OPENAT2, _HERE, _encoded(path), _HOW_AT, _HOW_BYTES)
    if fd >= 0:
        return int(fd)
    number = ctypes.get_errno()
    if number in {errno.ELOOP, errno.ENOTDIR}:
        raise NotADirectoryError(errno.ENOTDIR, _LINK, path)
    # EPERM: a filter that does not know the call; the walk meets it again, if it means the folder.
    if number in _UNKNOWN or number == errno.EPERM or (make and number == errno.ENOENT):
        return walk(path, make=make)
    raise OSError(number, os.strerror(number), path)


def walk(path: str, *, make: bool = False) -> int:
    """As `open_folder`, name by name."""
    fd = os.open("/", _FOLDER)
    for name in filter(None, path.split(os.sep)):
        try:
            below = _enter(fd, name, make=make)
        except NotADirectoryError as error:
            raise NotADirectoryError(errno.ENOTDIR, _LINK, path) from error
        finally:
            os.close(fd)
        fd = below
    return fd


def _enter(fd: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=fd)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # somebody was faster
        os.mkdir(name, dir_fd=fd)
    return os.open(name, _FOLDER, dir_fd=fd)


def look(fd: int, name: str) -> os.stat_result | None:
    """Look at what has this name in a folder; None where nothing has."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def born(fd: int, name: str) -> float | None:
    """Tell when what has this name in a folder was made; None where kernel or file system do not say."""
    found = _Statx()
    try:
        failed = _libc.statx(fd, os.fsencode(name), _NO_FOLLOW, _BIRTH, ctypes.byref(found))
    except AttributeError:  # a C library of before 2018
        return None
    return None if failed or not found.mask & _BIRTH else found.seconds + found.nanoseconds / 10**9


def rename_new(name: str, target: str, *, fd: int, target_fd: int) -> None:
    """Rename from folder to folder; raises FileExistsError where something has that name already."""
    encoded = os.fsencode(name)
    other = encoded if target == name else os.fsencode(target)
    if _libc.renameat2(fd, encoded, target_fd, other, _NO_REPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _UNKNOWN:
        raise OSError(number, os.strerror(number), name)
    if look(target_fd, target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(name, target, src_dir_fd=fd, dst_dir_fd=target_fd)


def create(fd: int, name: str) -> int:
    """Open a new file for writing, in the place of what a crash left or a stranger put there."""
    remove(fd, name)
    return os.open(name, _NEW, 0o666, dir_fd=fd)


def write(fd: int, name: str, data: bytes, *, part: str, durable: bool = False) -> None:
    """Put a whole file into a folder, under a name of its own first; what has the name is replaced."""
    try:
        with open(create(fd, part), "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.rename(part, name, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError:
        remove(fd, part)
        raise


def remove(fd: int, name: str) -> None:
    """Take a name away, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=fd)


def sync(fd: int) -> None:
    """Have the names in this folder on disk."""
    readable = os.open(".", _READABLE, dir_fd=fd)
    try:
        sync_names(readable)
    finally:
        os.close(readable)
