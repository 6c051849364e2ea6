"""A share of a test's own, as of a network: one file, read from a server that may stop answering."""

import ctypes
import errno
import os
import struct
import subprocess
import threading
from pathlib import Path
from typing import Self

import pytest

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE, _FLUSH, _INIT = 1, 2, 3, 14, 15, 18, 25, 26
_STATFS, _OPENDIR, _READDIR, _RELEASEDIR, _ACCESS = 17, 27, 28, 29, 34
_OPENED = struct.pack("QII", 0, 1, 0)  # nothing of it is cached
# As rclone has it: half of a terabyte is free, and of a billion files none.
_ROOM = struct.pack("5Q10I", 2**28, 2**27, 2**27, 10**9, 0, 4096, 255, 4096, *[0] * 7)
_SAID = {
    _STATFS: _ROOM,
    _INIT: struct.pack("IIIIHHIIHHI28x", 7, 31, 2**16, 0, 16, 12, 2**16, 1, 1, 0, 0),
    **dict.fromkeys((_OPEN, _OPENDIR), _OPENED),
    **dict.fromkeys((_RELEASE, _RELEASEDIR, _ACCESS), b""),
}
_OUT, _FILE = struct.Struct("IiQ"), 2


def without_time_of_change(stat: os.stat_result) -> os.stat_result:
    """As exFAT by FUSE tells of a file: the time of its content twice."""
    fields = {name: getattr(stat, name) for name in dir(stat) if name.startswith("st_")}
    again = {"st_ctime": stat.st_mtime, "st_ctime_ns": stat.st_mtime_ns}
    return os.stat_result(tuple(stat), fields | again)


class OneFileShare:
    """Mounts a file alone at a place; after so many reads it answers nothing until `answer`.

    Where it `hears_of_closes`, a close then waits for it, and nobody who waits for that can be killed.
    `kind` is what the table of mounts calls it, `stamp` and `nanos` the time of its file; `data` may be
    exchanged.
    """

    def __init__(
        self,
        place: Path,
        name: str,
        data: bytes,
        *,
        reads: int,
        hears_of_closes: bool = False,
        kind: str = "fuse",
        stamp: int = 10**9,
        nanos: int = 0,
    ) -> None:
        self._stamp, self._nanos = stamp, nanos
        self.place, self._name, self.data, self._reads = place, name.encode(), data, reads
        self.is_mute, self._answers = threading.Event(), threading.Event()
        self._said = {**_SAID, _FLUSH: b""} if hears_of_closes else _SAID
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40755,user_id=0,group_id=0,max_read=4096".encode()
        if ctypes.CDLL(None).mount(b"test", os.fsencode(place), kind.encode(), 0, options):
            os.close(self._fd)
            pytest.skip("no FUSE here")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        (place / name).open("rb").close()  # the kernel learns that a close is nothing to the server

    def answer(self) -> None:
        self._answers.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.answer()
        subprocess.run(["umount", "--lazy", self.place], check=False)

    def _serve(self) -> None:
        while True:
            try:
                asked = os.read(self._fd, 2**17)
            except OSError:  # it was unmounted
                return
            _, call, unique, node = struct.unpack_from("IIQQ", asked)
            if call == _FORGET:
                continue
            said = self._answer_to(call, node, asked[40:])
            error, body = (said, b"") if isinstance(said, int) else (0, said)
            os.write(self._fd, _OUT.pack(_OUT.size + len(body), -error, unique) + body)
            self._reads -= call == _READ
            if self._reads <= 0:  # what is asked from here on is not heard, so who asks can be killed
                self.is_mute.set()
                self._answers.wait()

    def _answer_to(self, call: int, node: int, body: bytes) -> bytes | int:
        """Return what to say, or an error's number (fuse.h)."""
        if call in self._said:
            return self._said[call]
        if call == _LOOKUP:
            found = body.rstrip(b"\0") == self._name
            return struct.pack("QQQQII", _FILE, 0, 0, 0, 0, 0) + self._facts(_FILE) if found else errno.ENOENT
        if call == _GETATTR:
            return struct.pack("QII", 0, 0, 0) + self._facts(node)
        if call == _READ:
            _, place, size = struct.unpack_from("QQI", body)
            return self.data[place : place + size]
        if call == _READDIR:
            return self._listing() if struct.unpack_from("QQ", body)[1] == 0 else b""
        return errno.ENOSYS  # it is not asked that again; as on network shares, a close waits for nothing

    def _facts(self, node: int) -> bytes:
        size, mode = (len(self.data), 0o100644) if node == _FILE else (0, 0o40755)
        times = *[self._stamp] * 3, *[self._nanos] * 3
        return struct.pack("6Q10I", node, size, 1, *times, mode, 1, 0, 0, 0, 4096, 0)

    def _listing(self) -> bytes:
        entry = struct.pack("QQII", _FILE, 1, len(self._name), 8) + self._name
        return entry + b"\0" * (-len(entry) % 8)
