"""What lies in an inbox and is no image to take: counted and named, lest somebody wait for it."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from dropsight.names import as_text

MOST_KINDS, MOST_LINKS = 20, 5
HIDDEN, NO_SUFFIX, OTHERS = "hidden", "no suffix", "others"
LONGEST_SUFFIX = 12


class Ignored(msgspec.Struct, frozen=True):
    """As of the last walk: files by suffix, folders that are passed by, by name; and links to folders."""

    files: Mapping[str, int] = {}
    folders: Mapping[str, int] = {}
    linked: Sequence[str] = ()

    def lines(self) -> Iterator[str]:
        """Say it, a line a kind."""
        if self.files:
            count = sum(self.files.values())
            yield f"{count:,} file{' is' if count == 1 else 's are'} ignored: {_named(self.files)}"
        if self.folders:
            yield f"folders passed by, hidden or by watch.ignore: {_named(self.folders)}"
        for path in self.linked:
            way_out = "give what it leads to a watch of its own, with a camera"
            yield f"{path} is a link to a folder, which is not looked into: {way_out}"


class Tally:
    """For one walk; bounded."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()
        self._folders: Counter[str] = Counter()
        self._linked: list[str] = []

    def file(self, entry: os.DirEntry[str]) -> None:
        """Count what is not taken for its name."""
        if entry.is_symlink() and os.path.isdir(entry.path):  # False for loops
            if len(self._linked) < MOST_LINKS:
                self._linked.append(as_text(entry.path))
        elif entry.name.startswith("."):
            _count(self._files, HIDDEN)
        else:
            suffix = os.path.splitext(entry.name)[1].lower()
            _count(self._files, as_text(suffix[:LONGEST_SUFFIX]) or NO_SUFFIX)

    def folder(self, path: str) -> None:
        """Count a folder that is not looked into."""
        _count(self._folders, as_text(os.path.basename(path)))

    def ignored(self) -> Ignored:
        return Ignored(dict(self._files), dict(self._folders), self._linked)


def together(parts: Iterable[Ignored]) -> Ignored:
    """Take those of several inboxes together."""
    files: Counter[str] = Counter()
    folders: Counter[str] = Counter()
    linked: list[str] = []
    for part in parts:
        files.update(part.files)
        folders.update(part.folders)
        linked += part.linked
    return Ignored(dict(files.most_common()), dict(folders.most_common()), linked)


def _count(counts: Counter[str], name: str) -> None:
    counts[name if name in counts or len(counts) < MOST_KINDS else OTHERS] += 1


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
