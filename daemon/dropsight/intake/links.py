"""Symbolic links in an inbox to folders elsewhere, followed as cameras if `watch[].follow_links` is set."""

import errno
import heapq
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from stat import S_ISDIR, S_ISLNK

from dropsight.files.beneath import Top
from dropsight.status.ignored import Tally

_HERE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# As many as the kernel follows.
_MOST = 40
# Each is looked for anew in each walk, and has its places in memory.
MOST_FOLLOWED = 1_024
_TWICE = "it is already read under another name"
_STRANGER = "only links owned by root or dropsight's user are followed (sudo chown -h root makes one root's)"


class Links:
    """Those of one inbox. The thread that walks finds them, any may ask where a path leads to.

    Whoever makes a link says where images are read, and moved away: only root and our own user may.
    """

    def __init__(self, inbox: Top) -> None:
        self.inbox = inbox
        self._places: dict[str, str] = {}

    @property
    def places(self) -> Mapping[str, str]:
        """Where each leads to, through no link."""
        return self._places

    def true(self, path: str) -> str:
        """Return where a path of the inbox truly is, but for links that are not among these."""
        if not self._places:
            return self.inbox.true + path[len(self.inbox.path) :]
        above = path
        while len(above) > len(self.inbox.path):
            if (place := self._places.get(above)) is not None:
                return place + path[len(above) :]
            above = os.path.dirname(above)
        return self.inbox.true + path[len(self.inbox.path) :]

    def tops(self) -> list[Top]:
        return [Top(path, place) for path, place in self._places.items()]

    def look(self, path: str, *, ours: Iterable[str]) -> None:
        """Note where a link leads to; raises OSError for one to nowhere, or that is not to be followed."""
        place = destination(os.path.join(self.true(os.path.dirname(path)), os.path.basename(path)))
        inbox = self.inbox.true
        if _is_within(place, inbox) or _is_within(inbox, place):
            raise OSError(errno.ELOOP, "it points to this inbox, or to a folder above it")
        if any(_is_within(place, folder) for folder in ours):
            raise OSError(errno.ELOOP, "it points to a folder of dropsight's own, or to another inbox")
        self._places = {**self._places, path: place}  # others may be going through it

    def forget(self, path: str) -> None:
        self._places = {other: place for other, place in self._places.items() if other != path}


class Walk:
    """One walk. Each folder is looked into once: by the name that it had before, else the shortest way.

    A round of the `whole` inbox finds links; others look into those that are known. Only what links lead to
    is remembered: every loop comes by there.
    """

    def __init__(
        self, links: Links | None, ours: Sequence[str], *, reaches: Callable[[str], bool], whole: bool
    ) -> None:
        self.follows = links is not None
        self._links, self._whole, self._reaches = links, whole, reaches
        self._paths = ours
        self._ours = set(filter(None, map(inode, ours)))
        self._tops: set[tuple[int, int]] = set()
        self._waiting: list[tuple[bool, int, str]] = []
        self._followed: set[str] = set()

    def waits(self, path: str, entry: os.DirEntry[str], tally: Tally | None) -> bool:
        """Whether this is a link, to a folder or to nothing yet: its turn comes after all that is no link."""
        if self._links is None or not entry.is_symlink() or _leads_to_file(entry):
            return False
        is_new = path not in self._links.places
        if is_new and (fault := self._fault_at_once(entry)):
            if tally:
                tally.unfollowed(path, fault)
        else:
            heapq.heappush(self._waiting, (is_new, path.count(os.sep), path))
        return True

    def _fault_at_once(self, link: os.DirEntry[str]) -> str | None:
        """Those of strangers, of whom there may be any number, take no place."""
        with suppress(OSError):
            if link.stat(follow_symlinks=False).st_uid not in _trusted():
                return _STRANGER
        if len(self._waiting) + len(self._followed) >= MOST_FOLLOWED:
            return f"{MOST_FOLLOWED:,} links are followed already, or wait for it"
        return None

    def next_link(self, tally: Tally | None) -> str | None:
        """Return a link to look into; those that are not followed are told of."""
        while self._links and self._waiting:
            _, _, path = heapq.heappop(self._waiting)
            if self._whole and (fault := self._fault(self._links, path)):
                self._links.forget(path)
                if tally:
                    tally.unfollowed(path, fault)
            elif place := self._links.places.get(path):
                self._followed.add(path)
                if tally:
                    tally.followed(path, place)
                return path
        return None

    def enters(self, folder: str, fd: int, tally: Tally | None) -> bool:
        """Whether to look into a folder; not so into one of ours that is mounted here, or linked to."""
        stat = os.fstat(fd)
        found = stat.st_dev, stat.st_ino
        if self._links is None:
            return found not in self._ours
        is_new = found not in self._tops and found not in self._ours
        is_linked = folder in self._followed
        if is_linked or not self._tops:
            self._tops.add(found)
        if not is_new and is_linked:
            self._followed.discard(folder)
            self._links.forget(folder)
            if tally:
                tally.unfollowed(folder, _TWICE)
        return is_new

    def end(self) -> Iterable[str]:
        """Forget the links that are no longer there, and return them."""
        if self._links is None or not self._whole:
            return []
        gone = [path for path in self._links.places if path not in self._followed]
        for path in gone:
            self._links.forget(path)
        return gone

    def _fault(self, links: Links, path: str) -> str | None:
        try:
            links.look(path, ours=self._paths)
        except OSError as error:
            return error.strerror or str(error)
        return _TWICE if self._is_read_by_another(links.places, links.places[path]) else None

    def _is_read_by_another(self, places: Mapping[str, str], place: str) -> bool:
        """Whether a folder lies within what another link leads to, and is looked into there."""
        tops = ((link, places[link]) for link in self._followed if _is_within(place, places[link]))
        return any(self._reaches(link + place[len(top) :]) for link, top in tops)


def _leads_to_file(link: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a loop, or closed to us
        return link.is_file()
    return False


def destination(path: str) -> str:
    """Go the way of an absolute path name by name, and return where it ends, by a path without links.

    Raises PermissionError at a link of somebody else's, NotADirectoryError where it leads to no folder.
    """
    pending, names, links = deque(_parts(path)), list[str](), 0
    here = os.open("/", _HERE)
    try:
        while pending:
            below = os.open(name := pending.popleft(), _HERE, dir_fd=here)
            here, before = below, here
            kind = os.fstat(below)
            if not S_ISLNK(kind.st_mode):
                os.close(before)
                names = names[:-1] if name == ".." else [*names, name]
                continue
            links += 1
            here = before
            pending.extendleft(reversed(_parts(target := _read_link(below, kind, links))))
            if target.startswith(os.sep):
                here, names = os.open("/", _HERE), []
                os.close(before)
        if not S_ISDIR(os.fstat(here).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    finally:
        os.close(here)
    return os.sep + os.sep.join(names)


def _read_link(fd: int, kind: os.stat_result, count: int) -> str:
    """Read the very link whose owner is known, and close it."""
    try:
        if kind.st_uid not in _trusted():
            raise PermissionError(errno.EPERM, _STRANGER)
        if count > _MOST:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def _trusted() -> set[int]:
    return {0, os.geteuid()}


def inode(path: str) -> tuple[int, int] | None:
    """Return device and inode, which tell whether two paths name the same; None where nothing is there.

    Of a link, its own: who puts one where a folder of ours was is not to have others taken for it.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _parts(path: str) -> list[str]:
    return [part for part in path.split(os.sep) if part not in {"", "."}]


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
