"""The kernel's word of what comes into folders."""

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

CLOSE_WRITE, MOVED_TO, CREATE, MOVE_SELF = 0x8, 0x80, 0x100, 0x800
UNMOUNT, OVERFLOW, IGNORED, ISDIR = 0x2000, 0x4000, 0x8000, 0x4000_0000
ARRIVED = CLOSE_WRITE | MOVED_TO | CREATE
# Folders only, and no links. Of one that is deleted or unmounted the kernel tells unasked.
_ASKED = ARRIVED | MOVE_SELF | 0x0100_0000 | 0x0200_0000
_HEAD = struct.Struct("iIII")
_READ_BYTES = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    watch: int
    mask: int
    name: str


class Inotify:
    """One thread reads, any may add and remove."""

    def __init__(self) -> None:
        """Raise OSError where none is to be had."""
        self.fd: int = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, path: str) -> int:
        """Hear of arrivals in this folder; return the watch's number, the same for the same folder."""
        return _checked(_libc.inotify_add_watch(self.fd, os.fsencode(path), ctypes.c_uint32(_ASKED)))

    def remove(self, watch: int) -> None:
        """Hear no more of it, if that is not so already."""
        _libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> Iterator[Event]:
        """Yield what there is."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            yield Event(watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0")))
            at += length

    def close(self) -> None:
        os.close(self.fd)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
