"""What is in a file of one of fsspec's systems, in pieces as they come."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dropsight.archive.ftp_answers import sent

_PIECE_BYTES = 2**20


@contextmanager
def streaming(system: Any, path: str) -> Iterator[Iterator[bytes]]:  # noqa: ANN401 - fsspec's
    """Give what is in a file, in pieces as they come."""
    if system.protocol == "ftp":
        with sent(system, path) as pieces:
            yield pieces
        return
    # With a size a web server is asked once, and for all: it need not know of ranges.
    how = {"block_size": 0, "size": 1} if "https" in system.protocol else {}
    with _opened(system, path, **how) as file:
        yield iter(lambda: file.read(_PIECE_BYTES), b"")


def _opened(system: Any, path: str, **how: int) -> Any:  # noqa: ANN401 - fsspec's, and what it opens
    """Open it, within a zip or tar file by the very name: fsspec takes /a.jpg for a.jpg."""
    if path in getattr(getattr(system, "zip", None), "NameToInfo", ()):
        return system.zip.open(path)
    if path in (getattr(system, "index", None) or ()):
        return system._open(path)  # noqa: SLF001 - what its `open` calls with another name
    return system.open(path, "rb", **how)
