"""paho's socket with fewer system calls: read ahead of its single bytes, and written by the group."""

import ssl
import time
from collections.abc import Callable
from typing import Protocol

AHEAD_BYTES = 16_384
# Of what goes out in a group; much more makes nothing cheaper.
GROUP_BYTES = 65_536
# How often a turn of the loop may read: who sends for ever is not to keep it from all else.
READS = 16


class SocketLike(Protocol):
    """What paho needs of one: a socket, an encrypted one, or its own of websockets."""

    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes | bytearray, /) -> int: ...
    def close(self) -> None: ...
    def fileno(self) -> int: ...
    def setblocking(self, flag: bool, /) -> None: ...  # noqa: FBT001 - paho's


class Wire:
    """For the thread that drives the connection. Raises BlockingIOError where a socket may.

    What a call of `send` returns is true of the last packet of a group; those before it are called sent once
    they are here. They stand before it, so it is not sent until they are.
    """

    def __init__(self, sock: SocketLike, *, plain: bool) -> None:
        """`plain`: who reads less than asked for has read all there is."""
        self._sock, self._plain = sock, plain
        self._pending: Callable[[], int] | None = getattr(sock, "pending", None)
        self._ahead, self._at, self._reads = b"", 0, READS
        self._group = bytearray()
        self.refused_since: float | None = None
        """When the other side began to take nothing of what there is for it; None while it does."""

    def read_anew(self) -> None:
        """There may be something."""
        self._reads = READS

    @property
    def has_read_ahead(self) -> bool:
        return self._at < len(self._ahead)

    def recv(self, size: int, /) -> bytes:
        at, ahead = self._at, self._ahead
        if at < len(ahead):
            self._at = at + size
            return ahead[at : at + size]
        if not self._reads:
            raise BlockingIOError
        self._reads -= 1
        if size >= AHEAD_BYTES:
            return self._receive(size)
        self._ahead, self._at = self._receive(AHEAD_BYTES), size
        return self._ahead[:size]

    def _receive(self, size: int) -> bytes:
        try:
            data = self._sock.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        if self._plain and len(data) < size:
            self._reads = 0
        return data

    def pending(self) -> int:
        """How many bytes there are of which a poll knows nothing."""
        left = max(len(self._ahead) - self._at, 0)
        return left + (self._pending() if self._pending else 0)

    def send(self, data: bytes | bytearray, /, *, more: bool = False) -> int:
        """Write it, or keep it for the packet that is said to follow."""
        group = self._group
        if more and len(group) + len(data) < GROUP_BYTES:
            group += data
            return len(data)
        if not group:
            return self._send(data)
        sent = self._send(group + data)
        left = len(group) - sent
        del group[:sent]
        if left >= 0:
            raise BlockingIOError
        return -left

    def _send(self, data: bytes | bytearray) -> int:
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            if self.refused_since is None:
                self.refused_since = time.monotonic()
            raise BlockingIOError from error
        self.refused_since = None
        if not sent:  # paho's own of websockets, where a frame is not through yet
            raise BlockingIOError
        return sent

    def close(self) -> None:
        self._sock.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001 - paho's
        self._sock.setblocking(flag)
