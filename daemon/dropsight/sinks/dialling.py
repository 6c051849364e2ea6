"""Connections that are made within a time or not at all, however many addresses a name has."""

import socket
import time
from contextlib import ExitStack


def dial(host: str, port: int, *, seconds: float) -> socket.socket:
    """Connect to the first address that answers, and leave this time as the socket's; raises OSError.

    `socket.create_connection` has the time anew for each, of which a name may have hundreds: nobody would be
    told for hours that none is reached. Here each has its part of what is left.
    """
    deadline = time.monotonic() + seconds
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    fault: OSError = OSError(f"{host} has no address")
    for left, (family, kind, number, _, address) in zip(range(len(found), 0, -1), found, strict=True):
        with ExitStack() as opened:
            try:  # a kernel without IPv6 has no socket for its addresses
                plain = opened.enter_context(socket.socket(family, kind, number))
                plain.settimeout(max((deadline - time.monotonic()) / left, 0.001))
                plain.connect(address)
                plain.settimeout(seconds)
            except OSError as error:
                fault = error
            else:
                opened.pop_all()
                return plain
    raise fault


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
