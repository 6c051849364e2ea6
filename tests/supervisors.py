"""A supervisor in systemd's place: it hears what the daemon says of itself."""

import socket
from pathlib import Path


class Supervisor:
    """A notify socket that keeps what it hears."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)

    def lines(self, name: str) -> list[str]:
        """What came after this name, so far."""
        try:
            while True:
                self.heard += self._socket.recv(65_536).decode().splitlines()
        except BlockingIOError:
            pass
        return [line.partition("=")[2] for line in self.heard if line.startswith(f"{name}=")]

    def close(self) -> None:
        self._socket.close()
