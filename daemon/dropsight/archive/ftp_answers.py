"""What an FTP server sends: files that fsspec reads on to their end, and names that are any bytes."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from ftplib import error_perm
from typing import Any

_PIECE_BYTES = 2**20
_NAMES = "dropsight_names"


def names_encoding() -> str:
    """Return the name of UTF-8 with other bytes as Python has them in names: ftplib can be told no more."""
    return _NAMES


class _Encoder(codecs.IncrementalEncoder):
    def encode(self, text: str, final: bool = False) -> bytes:  # noqa: FBT001, FBT002, ARG002 - codecs'
        return text.encode(errors="surrogateescape")


class _Decoder(codecs.BufferedIncrementalDecoder):
    def _buffer_decode(self, data: Any, errors: str, final: bool) -> tuple[str, int]:  # noqa: ANN401, FBT001, ARG002
        return codecs.utf_8_decode(data, "surrogateescape", final)


def _codec(name: str) -> codecs.CodecInfo | None:
    if name != _NAMES:
        return None
    return codecs.CodecInfo(
        lambda text, _="": (text.encode(errors="surrogateescape"), len(text)),
        lambda data, _="": (bytes(data).decode(errors="surrogateescape"), len(data)),
        incrementalencoder=_Encoder,
        incrementaldecoder=_Decoder,
        name=_NAMES,
    )


codecs.register(_codec)


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
