"""From which source a path of the manifest comes, and where it lies below it."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_GLOB = re.compile(r"[*?\[]")


class SourcePlace(NamedTuple):
    """`base` is the source's folder, empty where none is above the path; `rest` the way from there."""

    base: str
    rest: str


def origin_of(path: str, sources: Sequence[str]) -> SourcePlace:
    bases = (*(source.rstrip("/") for source in sources), *map(_folder_of, sources))
    base = max((base for base in bases if path.startswith(f"{base}/")), key=len, default=None)
    return SourcePlace("", path) if base is None else SourcePlace(base, path[len(base) + 1 :])


def names_of_folder(path: str, sources: Sequence[str]) -> Iterator[str]:
    """Yield by what names the folder of a file may be called, and those above it, the innermost first.

    That is its way from the source on, or the whole; the source's own is also its last name, or ".".
    """
    base, rest = origin_of(path, sources)
    inner = rest.split("/")[:-1]
    for count in range(len(inner), 0, -1):
        name = "/".join(inner[:count])
        if base:
            yield name
        yield f"{base}/{name}" if base else name
    if base:
        yield from (base.rpartition("/")[2], base, ".")


def _folder_of(source: str) -> str:
    """Of a file or a list, its own; of a glob, that above the first part with a wildcard."""
    return _GLOB.split(source.rstrip("/"))[0].rpartition("/")[0]
