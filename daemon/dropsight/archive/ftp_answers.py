"""What an FTP server sends of a file: fsspec's reads on to its end, although it has what it wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from ftplib import error_perm
from typing import Any

_PIECE_BYTES = 2**20


@contextmanager
def sent(system: Any, path: str) -> Iterator[Iterator[bytes]]:  # noqa: ANN401 - fsspec's
    """Give it in pieces as they come, by the connection of this system, which is of no use then."""
    try:
        system.ftp.voidcmd("TYPE I")
        connection = system.ftp.transfercmd(f"RETR {path}")
    except error_perm as error:
        if str(error).startswith("550"):
            raise FileNotFoundError(path) from error
        raise
    try:
        with connection:
            yield _pieces(system, connection)
    finally:
        system.ftp.close()


def _pieces(system: Any, connection: Any) -> Iterator[bytes]:  # noqa: ANN401 - a socket
    while piece := connection.recv(_PIECE_BYTES):
        yield piece
    connection.close()
    system.ftp.voidresp()  # whether that was all
