"""Files in an inbox that are not images to take: counted and named, so that nobody waits for them."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import msgspec

from dropsight.names import as_text

MOST_KINDS, MOST_LINKS = 20, 5
HIDDEN, NO_SUFFIX, OTHERS = "hidden", "no suffix", "others"
LONGEST_SUFFIX = 12


class Ignored(msgspec.Struct, frozen=True):
    """As of the last walk: files by suffix, folders that are passed by, by name; and links to folders.

    `linked` are those that nobody asked to be looked into, `unfollowed` say why each is not nevertheless.
    """

    files: Mapping[str, int] = {}
    folders: Mapping[str, int] = {}
    linked: Sequence[str] = ()
    followed: Mapping[str, str] = {}
    unfollowed: Mapping[str, str] = {}

    def lines(self) -> Iterator[str]:
        """Say it, one line per kind."""
        if self.files:
            count = sum(self.files.values())
            yield f"{count:,} file{' is' if count == 1 else 's are'} ignored: {_named(self.files)}"
        if self.folders:
            yield f"folders skipped, hidden or by watch.ignore: {_named(self.folders)}"
        for path in self.linked:
            way_out = "give its target a watch of its own, with a camera, or set watch.follow_links"
            yield f"{path} is a link to a folder, which is not read: {way_out}"
        for path, why in self.unfollowed.items():
            yield f"{path} is a link to a folder, which is not read: {why}"

    def lines_of_links(self) -> Iterator[str]:
        """Say which links are followed, a line each."""
        for path, place in self.followed.items():
            yield f"{path} is a link to {place}, which is read"


class Tally:
    """For one walk; bounded."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()
        self._folders: Counter[str] = Counter()
        self._linked: list[str] = []
        self._followed: dict[str, str] = {}
        self._unfollowed: dict[str, str] = {}

    def file(self, path: str, entry: os.DirEntry[str]) -> None:
        """Count what is not taken for its name."""
        if entry.is_symlink() and _leads_to_folder(entry):
            if len(self._linked) < MOST_LINKS:
                self._linked.append(as_text(path))
        elif entry.name.startswith("."):
            _count(self._files, HIDDEN)
        else:
            suffix = os.path.splitext(entry.name)[1].lower()
            _count(self._files, as_text(suffix[:LONGEST_SUFFIX]) or NO_SUFFIX)

    def folder(self, path: str) -> None:
        """Count a folder that is not looked into."""
        _count(self._folders, as_text(os.path.basename(path)))

    def followed(self, path: str, place: str) -> None:
        """Note a link that is looked into."""
        _keep(self._followed, path, place)

    def unfollowed(self, path: str, why: str) -> None:
        """Note a link that is not, though others are."""
        self._followed.pop(as_text(path), None)
        _keep(self._unfollowed, path, why)

    def ignored(self) -> Ignored:
        files, folders = dict(self._files), dict(self._folders)
        return Ignored(files, folders, self._linked, self._followed, self._unfollowed)


def together(parts: Iterable[Ignored]) -> Ignored:
    """Take those of several inboxes together."""
    files: Counter[str] = Counter()
    folders: Counter[str] = Counter()
    linked: list[str] = []
    followed: dict[str, str] = {}
    unfollowed: dict[str, str] = {}
    for part in parts:
        files.update(part.files)
        folders.update(part.folders)
        linked += part.linked
        followed.update(part.followed)
        unfollowed.update(part.unfollowed)
    return Ignored(_most(files), _most(folders), linked[:MOST_LINKS], followed, unfollowed)


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a loop, or closed to us
        return link.is_dir()
    return False


def _keep(known: dict[str, str], path: str, text: str) -> None:
    if len(known) < MOST_LINKS:
        known[as_text(path)] = as_text(text)


def _most(counts: Counter[str]) -> Mapping[str, int]:
    """The most frequent first; what is beyond them is one."""
    ranked = counts.most_common()
    rest = Counter({OTHERS: sum(count for _, count in ranked[MOST_KINDS:])})
    return dict((Counter(dict(ranked[:MOST_KINDS])) + rest).most_common())


def _count(counts: Counter[str], name: str) -> None:
    counts[name if name in counts or len(counts) < MOST_KINDS else OTHERS] += 1


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
