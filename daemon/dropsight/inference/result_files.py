"""Files of results where people want them: whole or not at all, but for devices, pipes and streams."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_OF_THE_MACHINE = ("/dev", "/proc")


def is_stream(path: Path) -> bool:
    """Whether no file may take its place: root's own would be gone for the whole machine."""
    special = any(path.absolute().is_relative_to(each) for each in _OF_THE_MACHINE)
    return path.exists() and (special or not path.is_file())


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Give what to write to; what is there in the end has this name. Raises OSError."""
    if is_stream(path):
        with path.open("wb") as stream:
            yield stream
        return
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        yield file
    part.replace(path)
