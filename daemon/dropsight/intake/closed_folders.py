"""Folders in an inbox that are closed to us: said with the way out, and noted for who may open them.

And those that lie too deep.
"""

import contextlib
import grp
import logging
import os
import shlex
import string
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from dropsight.errors import StoreError
from dropsight.files.disk import write_whole
from dropsight.intake.folder import DEEPEST, LONGEST_BYTES, DropFolder
from dropsight.names import as_shown
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

NAME = "closed-folders"
PART, DEPTH = "folders", "depth"
LONGEST_SHOWN = 200
MOST_FOLDERS, MOST_FILES = 4_096, 16
"""Closed folders that are noted, and images of each that may not be read: of further ones nothing is kept."""
RESTS = 20
"""It rests so many times as long as telling took."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0
"""What stays closed is noted anew after seconds, then after twice as many each time.

Whoever opens folders may have been at it while an image came, hear of no note meanwhile, or have failed.
"""
_PLAIN = frozenset(string.ascii_letters + string.digits + " /._-+,:=@%")


class FolderError(StoreError):
    """The folder that an image lies in is closed to us, whatever the place that it is to go to.

    `folder` is its path through no link. Whoever made it chose its name, and what stands there in a moment.
    """

    def __init__(self, folder: str) -> None:
        group = _group(folder)
        opens = "this opens it, unless a link leads there by then"
        super().__init__(
            f"{as_shown(folder)} is not accessible to {group}: look at it first; {opens}: "
            f"{remedy(folder, group)}"
        )
        self.folder = folder


class Refusals:
    """Thread-safe. The note in the state folder has one line per closed folder; systemd may watch it.

    Folders are told of by their paths through no link. Who has very many of them come and go is told of after
    rests, so that noting each takes no longer than the one before.
    """

    def __init__(
        self, state: Path, troubles: Troubles, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._note, self._troubles, self._clock = state / NAME, troubles, clock
        self._found: dict[str, frozenset[str]] = {}
        self._files: dict[str, str] = {}
        """Images that we may not read, and the folder of each."""
        self._counts = Counter[str]()
        """How many of them each folder has."""
        self._told = frozenset[str]()
        self._behind, self._rests_until = False, 0.0
        self._noted_at, self._pause = 0.0, FIRST_PAUSE
        self._lock = threading.RLock()

    def closed(self, folder: DropFolder, path: str) -> None:
        """Note an image that we may not read; whoever opens its folder to us opens all in it."""
        with self._lock:
            if path not in self._files:
                self._add(path, folder.links.true(os.path.dirname(path)))
            if self._behind or self._is_due(self._clock()):
                self._tell()

    def opened(self, path: str) -> None:
        """It can be read, or is gone."""
        if path in self._files:
            with self._lock:
                self._remove(path)

    def look_again(self) -> None:
        """Some of them may have been taken away while nobody had them in hand."""
        for path in [path for path in list(self._files) if not os.path.lexists(path)]:
            self.opened(path)
        with self._lock:
            if self._behind:
                self._tell()

    def found(self, by: str, folders: Iterable[str]) -> None:
        """These are all that `by` knows to be closed at the moment."""
        some = frozenset(islice(folders, MOST_FOLDERS))
        with self._lock:  # to the end: what is told last is what was found last
            self._found[by] = some
            self._tell()

    def _add(self, path: str, where: str) -> None:
        count = self._counts.get(where, 0)
        if count >= MOST_FILES or (not count and len(self._counts) >= MOST_FOLDERS):
            return
        self._files[path] = where
        self._counts[where] += 1
        self._pause = FIRST_PAUSE
        if not count:
            self._tell()

    def _remove(self, path: str) -> None:
        where = self._files.pop(path, None)
        if where is None:
            return
        self._counts[where] -= 1
        if not self._counts[where]:
            del self._counts[where]
            self._tell()

    def _tell(self) -> None:
        """Tell what is new, or note that it is yet to be told; that all are open is told at once."""
        began = self._clock()
        some = self._counts or any(self._found.values())
        self._behind = began < self._rests_until and bool(some)
        if self._behind:
            return
        before, self._told = self._told, frozenset(self._counts).union(*self._found.values())
        is_new = bool(self._told - before)
        if is_new or (self._told and self._is_due(began)):
            self._write(self._told)
            self._noted_at = began
            self._pause = FIRST_PAUSE if is_new else min(2 * self._pause, LONGEST_PAUSE)
        if self._told:
            first, more = min(self._told), len(self._told) - 1
            others = f" (and {more} more: {self._note})" if more else ""
            self._troubles.raised(PART, StoreError(f"{FolderError(first)}{others}"))
        elif before:
            self._troubles.cleared(PART)
        self._rests_until = self._clock() + RESTS * (self._clock() - began)

    def _is_due(self, now: float) -> bool:
        return now >= self._noted_at + self._pause

    def _write(self, folders: Iterable[str]) -> None:
        try:
            write_whole(self._note, b"".join(os.fsencode(folder) + b"\n" for folder in sorted(folders)))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._note, error.strerror)


class TooDeep:
    """Folders that lie too deep to be looked into: how many, and one of them. For the thread that walks."""

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles
        self._found: dict[DropFolder, tuple[int, str]] = {}

    def found(self, folder: DropFolder, count: int, example: str) -> None:
        """So many are below this watched folder at the moment."""
        self._found[folder] = (count, example[:LONGEST_SHOWN])
        count = sum(count for count, _ in self._found.values())
        if not count:
            self._troubles.cleared(DEPTH)
            return
        shown = as_shown(next(example for count, example in self._found.values() if count))
        others = f" (and {count - 1} more)" if count > 1 else ""
        bounds = f"deeper than {DEEPEST} folders, or its path is longer than {LONGEST_BYTES} bytes"
        self._troubles.raised(
            DEPTH, StoreError(f"{shown}{others} is {bounds}: its content is skipped; move it up")
        )


def closed_to_us(folder: DropFolder, path: str) -> str | None:
    """Name the topmost folder below the root that does not let go of this path; None where all do."""
    found = os.path.dirname(path)
    if not _keeps(folder, path):
        return None
    while found != folder.root and _keeps(folder, found) and os.path.dirname(found) != folder.root:
        found = os.path.dirname(found)
    return found


def remedy(folder: str, group: str) -> str:
    """Return a command that changes what lies at this very path, or nothing.

    It goes there, looks where it is, and no name counts from then on. Neither chgrp nor chmod follows links
    that it meets, but chmod does one that it is given; and both go through those on the way there.
    """
    steps = 'cd -P "$1" && test "$PWD" = "$1" && chgrp -hR "$2" . && chmod -R g+rwX,-t .'
    return f"sudo sh -c '{steps}' - {_quoted(folder)} {_quoted(group)}"


def _quoted(name: str) -> str:
    """Quote for a shell; what cannot be seen or typed stands in numbers, as bash and zsh know them."""
    if name == as_shown(name):
        return shlex.quote(name)
    signs = (chr(each) if chr(each) in _PLAIN else f"\\x{each:02x}" for each in os.fsencode(name))
    return f"$'{''.join(signs)}'"


def _keeps(folder: DropFolder, path: str) -> bool:
    """Whether what this lies in is not ours to take things out of, or sticky, and then only its owner's."""
    try:
        with folder.folder_of(path) as fd:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=fd):
                return True
            above, name, mine = os.fstat(fd), os.path.basename(path), os.geteuid()
            owners = {0, above.st_uid, os.stat(name, dir_fd=fd, follow_symlinks=False).st_uid}
            return bool(above.st_mode & 0o1000) and mine not in owners
    except PermissionError:
        return True
    except OSError:
        return False


def _group(folder: str) -> str:
    """The group of those who bring images, as the folder above has it, where it is one of ours."""
    number = os.getegid()
    with contextlib.suppress(OSError):  # it goes as it came
        above = os.stat(os.path.dirname(folder)).st_gid
        number = above if above in os.getgroups() else number
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
