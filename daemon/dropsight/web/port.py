"""The dashboard's port, which stays taken over a reload."""

import socket

from dropsight.config import host_and_port


class Port:
    """Whoever takes it in between would be shown the token by all who come back.

    Whoever comes in between waits for the dashboard that follows.
    """

    def __init__(self) -> None:
        self._listener: socket.socket | None = None
        self._listen = ""

    def open(self, listen: str) -> socket.socket:
        """Return a listener, to be closed by whoever asks: the former one's where it is the same port.

        Raises OSError.
        """
        if self._listener is None or listen != self._listen:
            self.close()
            bound = bind(listen)
            try:
                bound.listen(128)
            except OSError:  # another had bound it as well, and listens first
                bound.close()
                raise
            self._listener, self._listen = bound, listen
        return self._listener.dup()

    def close(self) -> None:
        if self._listener:
            self._listener.close()
        self._listener = None


def bind(listen: str) -> socket.socket:
    """Take a port; nobody can connect yet. Raises OSError."""
    host, port = host_and_port(listen)
    (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
