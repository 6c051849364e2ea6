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
from collections.abc import Iterable
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

    Folders are told of by their paths through no link.
    """

    def __init__(self, state: Path, troubles: Troubles) -> None:
        self._note, self._troubles = state / NAME, troubles
        self._found: dict[str, frozenset[str]] = {}
        self._files: dict[str, str] = {}
        """Images that we may not read, and the folder of each."""
        self._lock = threading.RLock()

    def closed(self, folder: DropFolder, path: str) -> None:
        """Note an image that we may not read; whoever opens its folder to us opens all in it."""
        with self._lock:
            if path not in self._files:
                self._files[path] = folder.links.true(os.path.dirname(path))
                self._tell_of_files()

    def opened(self, path: str) -> None:
        """It can be read, or is gone."""
        if path in self._files:
            with self._lock:
                self._files.pop(path, None)
                self._tell_of_files()

    def look_again(self) -> None:
        """Some of them may have been taken away while nobody had them in hand."""
        for path in [path for path in list(self._files) if not os.path.lexists(path)]:
            self.opened(path)

    def _tell_of_files(self) -> None:
        self.found("reading", self._files.values())

    def found(self, by: str, folders: Iterable[str]) -> None:
        """These are all that `by` knows to be closed at the moment."""
        with self._lock:  # to the end: what is told last is what was found last
            before = self._all()
            self._found[by] = frozenset(folders)
            now = self._all()
            if now - before:
                self._write(now)
            if now:
                first, more = min(now), len(now) - 1
                others = f" (and {more} more: {self._note})" if more else ""
                self._troubles.raised(PART, StoreError(f"{FolderError(first)}{others}"))
            elif before:
                self._troubles.cleared(PART)

    def _all(self) -> frozenset[str]:
        return frozenset().union(*self._found.values())

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
