"""Connections that are made within a time or not at all, however many addresses a name has."""

import os
import select
import socket
import time
from errno import EINPROGRESS
from typing import Self

# An address that has not answered by then may be one of IPv6 that leads nowhere (RFC 8305, 5).
STAGGER_SECONDS = 0.25
MOST_AT_ONCE = 8


def dial(host: str, port: int, *, seconds: float) -> socket.socket:
    """Connect to the first address that answers, and leave this time as the socket's; raises OSError.

    `socket.create_connection` has the time anew for each, of which a name may have hundreds: nobody would be
    told for hours that none is reached. Here each has its part of it, and the next does not wait for that.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    part = seconds / max(len(found), 1)
    with _Attempts(host) as attempts:
        for number, (family, kind, protocol, _, address) in enumerate(found, 1):
            attempts.begin(family, kind, protocol, address)
            pause = part if number == len(found) else min(part, STAGGER_SECONDS)
            if connected := attempts.first(seconds=pause):
                connected.settimeout(seconds)
                return connected
        raise attempts.fault


class _Attempts:
    """Connections that are being made. `fault` is that of the newest."""

    def __init__(self, host: str) -> None:
        self.fault = OSError(f"{host} has no address")
        self._poll, self._open = select.poll(), dict[int, socket.socket]()
        self._newest = -1

    def begin(self, family: int, kind: int, protocol: int, address: tuple[object, ...]) -> None:
        if len(self._open) == MOST_AT_ONCE:
            self._take(next(iter(self._open))).close()
        self.fault = TimeoutError("timed out")
        try:  # a kernel without IPv6 has no socket for its addresses
            plain = socket.socket(family, kind, protocol)
        except OSError as error:
            self.fault = error
            return
        self._newest = plain.fileno()
        self._open[self._newest] = plain
        self._poll.register(plain, select.POLLOUT)
        plain.setblocking(False)
        if (code := plain.connect_ex(address)) not in {0, EINPROGRESS}:
            self._fail(self._newest, code)

    def first(self, *, seconds: float) -> socket.socket | None:
        """Wait for so long, or while there is one left, for the first that is made."""
        until = time.monotonic() + seconds
        while self._open and (left := until - time.monotonic()) > 0:
            for number, _ in self._poll.poll(left * 1000):
                if not (code := self._open[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    return self._take(number)
                self._fail(number, code)
        return None

    def _fail(self, number: int, code: int) -> None:
        self._take(number).close()
        if number == self._newest:
            self.fault = OSError(code, os.strerror(code))

    def _take(self, number: int) -> socket.socket:
        self._poll.unregister(number)
        return self._open.pop(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for plain in self._open.values():
            plain.close()


def dial_unix(path: str, *, seconds: float) -> socket.socket:
    """Connect to who listens there, unless too many wait for that already; raises OSError."""
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        plain.settimeout(seconds)
        plain.connect(path)
    except OSError:
        plain.close()
        raise
    return plain
