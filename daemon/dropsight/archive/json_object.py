"""A JSON object whose last key is a list of any length, of which an item is in memory at a time."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from dropsight.names import as_one_line

_encode = msgspec.json.Encoder().encode


def write_object(file: Path, facts: Mapping[str, object], name: str, items: Iterable[object]) -> None:
    """Write `facts`, which are not empty, then the list by its name, an item a line."""
    with file.open("wb") as out:
        out.write(_encode(facts)[:-1] + b"," + _encode(name) + b":[")
        between = b"\n"
        for item in items:
            out.write(between + as_one_line(_encode(item)))
            between = b",\n"
        out.write(b"\n]}\n")
