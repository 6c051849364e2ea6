"""How targets of scripts/fuzz.py throw an input at what reads it."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from fuzz import Throw


class Finding(Exception):  # noqa: N818 - it is none of ours
    """The daemon did not take an input as it should."""


def reader(
    read: Callable[[bytes], object], *allowed: type[Exception]
) -> Callable[[], AbstractContextManager[Throw]]:
    def throw(data: bytes) -> None:
        with contextlib.suppress(*allowed):
            read(data)

    return lambda: contextlib.nullcontext(throw)


@contextmanager
def a_file(name: str, read: Callable[[Path], object], allowed: type[Exception]) -> Iterator[Throw]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name

        def throw(data: bytes) -> None:
            path.write_bytes(data)
            with contextlib.suppress(allowed):
                read(path)

        yield throw


LAUGHS = b"a: &a [1, 2]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b", ".join([b"*%c" % (name - 1)] * 9)) for name in b"bcdefghij"
)
"""A document that is a billion times as large as it looks."""
