"""Names with wildcards, matched folder by folder: a pattern, perhaps of a stranger's list, takes no time.

As one expression for whole paths, ten wildcards and a long name would take years.
"""

import contextlib
import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from dropsight.archive.storage import told

GLOB = re.compile(r"[*?\[]")
_PATH_BYTES = 4096
_Arrival: TypeAlias = tuple[int, int, frozenset[int]]
"""At a folder, by its numbers, and at places of a pattern."""
_Info: TypeAlias = Mapping[str, Any]
_Walked: TypeAlias = tuple[str, dict[str, _Info], dict[str, _Info]]


def matching(pattern: str) -> Iterator[str]:
    """As glob's, but links to folders, of which some lead back, are gone through to no folder twice.

    With ** they are not gone through at all. A folder whose path is too long to be opened is yielded itself.
    """
    top, parts = _split(pattern)
    links = None if "**" in parts else set[_Arrival]()
    pending = [(top, _places({0}, parts))] if os.path.isdir(top) else []
    while pending:
        folder, places = pending.pop()
        if is_too_long(folder):
            yield folder
            continue
        for entry in _entries(folder, closed_too=links is None):
            after = _after(entry.name, places, parts)
            if len(parts) in after:
                yield entry.path
            if after and _goes_on(entry, after, links):
                pending.append((entry.path, after))


def _entries(folder: str, *, closed_too: bool) -> Iterator[os.DirEntry[str]]:
    with told(folder, "read"):
        try:
            opened = os.scandir(folder)
        except PermissionError:
            if closed_too:
                raise
            return  # as glob's, which does without other users' folders
        with opened:
            yield from opened


def _goes_on(entry: os.DirEntry[str], after: set[int], links: set[_Arrival] | None) -> bool:
    if entry.is_dir(follow_symlinks=False):
        return True
    with contextlib.suppress(OSError):  # a link that leads in circles
        if links is not None and entry.is_dir():
            there = entry.stat()
            arrival = there.st_dev, there.st_ino, frozenset(after)
            is_new = arrival not in links
            links.add(arrival)
            return is_new
    return False


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
