"""Opening a path that strangers can write to: regular files only, no links followed, never blocking."""

import errno
import os
import stat
from types import TracebackType
from typing import Self

import msgspec

from dropsight.errors import ImageError, refusal
from dropsight.records import Depth

# A FIFO would block at open, a terminal could become ours, a link could point anywhere.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Bounds(msgspec.Struct, frozen=True):
    """What an image may cost: bytes to read, and width x height to decode; and how it is taken.

    `damaged_too`: whether one that is damaged is. `depth`: how 16 bits a channel become 8.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000
    damaged_too: bool = False
    depth: Depth = "scale"


class ImageFile:
    """A regular file, opened once: what is judged, read and filed is one and the same."""

    __slots__ = ("fd", "stat")

    def __init__(self, fd: int, found: os.stat_result) -> None:
        self.fd, self.stat = fd, found

    def look_again(self) -> None:
        """Take the file's size and times as they are by now."""
        self.stat = os.fstat(self.fd)

    def has_changed(self) -> bool:
        """Whether it was written to since it was looked at."""
        now = os.fstat(self.fd)
        return (self.stat.st_size, self.stat.st_mtime_ns) != (now.st_size, now.st_mtime_ns)

    def head(self, count: int) -> bytes:
        """Return the first bytes; what is read of the file otherwise is not changed by it."""
        return os.pread(self.fd, count, 0)

    def read(self, bounds: Bounds) -> bytes:
        """Read it whole; raises ImageError `empty`, `too_large` or `unreadable`, or MachineError."""
        if self.stat.st_size > bounds.max_bytes:
            raise _too_large(self.stat.st_size, bounds)
        try:
            # One byte more than expected tells the end of the file without a second call.
            data = os.read(self.fd, self.stat.st_size + 1)
            if len(data) != self.stat.st_size:
                data = self._read_on(data, bounds.max_bytes + 1)
        except OSError as error:
            raise refusal(error, "read") from error
        if not data:
            raise ImageError("empty", "the file is empty")
        if len(data) > bounds.max_bytes:
            raise _too_large(len(data), bounds)
        return data

    def _read_on(self, data: bytes, limit: int) -> bytes:
        pieces = [data]
        left = limit - len(data)
        while left > 0 and (piece := os.read(self.fd, min(left, 2**20))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)


def open_image(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> ImageFile:
    """Open for reading; raises FileNotFoundError, ImageError (`not_a_file`, `unreadable`), MachineError."""
    try:
        fd = os.open(path, _FLAGS, dir_fd=dir_fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _not_a_file(path, dir_fd) or refusal(error, "opened") from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise ImageError("not_a_file", f"not a regular file but {_kind(found.st_mode)}")
    return ImageFile(fd, found)


def open_named(path: str | os.PathLike[str]) -> ImageFile:
    """Open as `open_image`, through links: a path that somebody named, not a stranger's."""
    if not os.fspath(path):  # which else is the folder that we are in
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    if "\0" in os.fspath(path):
        raise ImageError("unreadable", "no file has such a name")
    return open_image(os.path.realpath(path))


def _not_a_file(path: str | os.PathLike[str], dir_fd: int | None) -> ImageError | None:
    try:
        mode = os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode
    except OSError:
        return None
    return None if stat.S_ISREG(mode) else ImageError("not_a_file", f"not a regular file but {_kind(mode)}")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _too_large(size: int, bounds: Bounds) -> ImageError:
    return ImageError("too_large", f"{size} bytes, more than the limit of {bounds.max_bytes} bytes")
