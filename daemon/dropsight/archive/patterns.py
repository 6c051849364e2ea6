"""Names with wildcards, matched folder by folder: a pattern, perhaps of a stranger's list, takes no time.

As one expression for whole paths, ten wildcards and a long name would take years.
"""

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from dropsight.archive.storage import told

GLOB = re.compile(r"[*?\[]")
_PATH_BYTES = 4096
_Info: TypeAlias = Mapping[str, Any]
_Walked: TypeAlias = tuple[str, dict[str, _Info], dict[str, _Info]]


def matching(pattern: str) -> Iterator[str]:
    """As glob's, but through no link to a folder: some lead back, without an end.

    A folder whose path is too long to be opened is yielded itself.
    """
    top, parts = _split(pattern)
    pending = [(top, _places({0}, parts))] if os.path.isdir(top) else []
    while pending:
        folder, places = pending.pop()
        if is_too_long(folder):
            yield folder
            continue
        with told(folder, "read"), os.scandir(folder) as entries:
            for entry in entries:
                after = _after(entry.name, places, parts)
                if len(parts) in after:
                    yield entry.path
                if after and entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, after))


def matching_there(walk: Callable[[str], Iterator[_Walked]], pattern: str) -> Iterator[tuple[str, _Info]]:
    """Yield the files of one of fsspec's systems, and what it says of them."""
    top, parts = _split(pattern)
    pending = {top.strip("/"): _places({0}, parts)}
    for folder, folders, files in walk(top):
        places = pending.pop(folder.strip("/"), set())
        for name, info in list(folders.items()):
            if after := _after(name, places, parts):
                pending[str(info["name"]).strip("/")] = after
            else:
                del folders[name]
        for name, info in files.items():
            if name and len(parts) in _after(name, places, parts):
                yield info["name"], info


def is_too_long(path: str) -> bool:
    """Whether no system call takes it."""
    return len(os.fsencode(path)) >= _PATH_BYTES


def _split(pattern: str) -> tuple[str, Sequence[str]]:
    """Return the folder above the first wildcard, and the parts of the pattern from there on."""
    named = pattern.split("/")
    first = next(number for number, part in enumerate(named) if GLOB.search(part))
    return "/".join(named[:first]) or "/"[: pattern.startswith("/")], named[first:]


def _after(name: str, places: set[int], parts: Sequence[str]) -> set[int]:
    """Return where the pattern goes on below what has this name, and is here by `places`."""
    here = {place for place in places if place < len(parts) and _fits(name, parts[place])}
    return _places({place + (parts[place] != "**") for place in here}, parts)


def _places(found: set[int], parts: Sequence[str]) -> set[int]:
    """Add where a pattern may be gone on with, as ** stands for no folder, too."""
    return {
        after
        for place in found
        for after in range(place, len(parts) + 1)
        if all(part == "**" for part in parts[place:after])
    }


def _fits(name: str, part: str) -> bool:
    if name.startswith(".") and not part.startswith("."):
        return False
    return part == "**" or fnmatch.fnmatchcase(name, part)
