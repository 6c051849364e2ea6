"""A watched folder: which of its files are images to take, and which camera each belongs to."""

import errno
import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import msgspec

from dropsight.config import Watch
from dropsight.errors import refusal
from dropsight.files.beneath import Listing, OpenFolder, Top, listed, open_folder
from dropsight.files.descent import Descent
from dropsight.files.filesystems import Shares
from dropsight.images.opening import ImageFile, open_image
from dropsight.intake.camera_names import Naming, is_date, naming
from dropsight.intake.links import Links, Walk
from dropsight.names import as_text
from dropsight.status.ignored import Tally

SIDECAR_SUFFIX = ".json"
# As `Landing` names what arrives: the name is ours, so no pattern of the config chooses by it.
ARRIVED = f"{'[0-9]' * 8}T{'[0-9]' * 6}-{'[0-9]' * 6}-*.*"
# Below a watched folder; a camera's dates take three or four.
DEEPEST = 64
# With a name of 255 bytes beside it, that is all that the kernel takes for a path.
LONGEST_BYTES = 4_095 - 256

# A file with its path, to be looked at before the walk goes on.
Found: TypeAlias = tuple[str, os.DirEntry[str]]
Told: TypeAlias = Callable[[str, int | OSError], None]


class DropFolder(msgspec.Struct, frozen=True, eq=False):
    """`excluded` are folders below the root that are ours, never the cameras'."""

    inbox: Top
    processed: Top
    failed: Top
    settings: Watch
    excluded: tuple[str, ...]
    links: Links
    shares: Shares
    root: str
    _ours: tuple[str, ...]
    _naming: Naming
    _name_pattern: re.Pattern[str]
    _ignored: re.Pattern[str]
    _clip_pattern: re.Pattern[str] | None

    @classmethod
    def open(cls, settings: Watch, *, ours: Sequence[Path] = (), clips: Sequence[str] = ()) -> "DropFolder":
        """`clips` are patterns of clips, which are taken beside `settings.patterns`."""
        root = os.fspath(settings.path)
        inbox = Top.at(root)
        # By either of its names the inbox may have been said to hold them.
        mine = tuple(inbox.below(path).true for path in (settings.processed, settings.failed, *ours))
        below = tuple(root + path[len(inbox.true) :] for path in mine if path.startswith(inbox.true + os.sep))
        places = inbox.below(settings.processed), inbox.below(settings.failed)
        arrived = () if settings.mqtt is None else (ARRIVED,)
        named = _any_of((*settings.patterns, *arrived, *clips))
        patterns, clip = (named, _any_of((".*", *settings.ignore))), _any_of(clips) if clips else None
        links, camera = Links(inbox), naming(settings.camera)
        known = inbox, *places, settings, below, links, Shares(), root, mine, camera
        return cls(*known, *patterns, _clip_pattern=clip)

    def parent_of(self, path: str) -> tuple[str, str]:
        """Return where the folder of an image truly is, and the image's name in it."""
        folder, _, name = path.rpartition(os.sep)
        return self.links.true(folder), name

    def folder_of(self, path: str) -> OpenFolder:
        """Open the folder that an image lies in, reached through no link.

        Raises FileNotFoundError where the folder is gone, or no folder any more, OSError where it is closed.
        """
        try:
            return OpenFolder(open_folder(self.parent_of(path)[0]))
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error

    def open_image(self, path: str) -> ImageFile:
        """Open an image of this folder; raises as `dropsight.images.opening.open_image`."""
        folder, name = self.parent_of(path)
        try:
            fd = open_folder(folder)
            try:
                return open_image(name, dir_fd=fd)
            finally:
                os.close(fd)
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise refusal(error, "opened") from error

    def look(self, path: str) -> os.stat_result:
        """Look at a file of this folder; raises FileNotFoundError where it is gone, OSError otherwise."""
        with self.folder_of(path) as fd:
            return os.stat(os.path.basename(path), dir_fd=fd, follow_symlinks=False)

    def leads_back(self, path: str) -> bool:
        """Whether a link names what lies in this inbox anyway, or did: motion's `lastsnap.jpg`.

        By its text alone: whoever made it could have links followed that lead to links without an end.
        """
        try:
            with self.folder_of(path) as fd:
                target = os.readlink(os.path.basename(path), dir_fd=fd)
        except OSError:  # gone, or another thing by now
            return False
        named = os.path.join(os.path.dirname(path), target)
        here = (self.root, self.inbox.true, *self.links.places.values())
        return os.path.normpath(named).startswith(tuple(folder + os.sep for folder in here))

    def wants(self, path: str) -> bool:
        """Whether this path, by its name and place alone, is an image to take.

        Hidden files are uploads in the making (rsync, sftp clients) or litter (macOS).
        """
        folder, name = os.path.split(path)
        return self.names_image(name) and self.reaches(folder)

    def names_image(self, name: str) -> bool:
        """Whether a file of this name is an image to take, wherever it lies; a sidecar is none."""
        if name.startswith(".") or not self._name_pattern.match(name):
            return False
        return not (name.endswith(SIDECAR_SUFFIX) and self.names_sidecar(name))

    def names_clip(self, path: str) -> bool:
        """Whether a file of this name waits in the lane of clips; what it is, its content tells."""
        return self._clip_pattern is not None and bool(self._clip_pattern.match(path.rpartition(os.sep)[2]))

    def names_sidecar(self, name: str) -> bool:
        """Whether a file of this name may be an image's sidecar."""
        return self.settings.sidecar_wait_seconds is not None and name.endswith(SIDECAR_SUFFIX)

    def reaches(self, folder: str) -> bool:
        """Whether files directly inside this folder count."""
        if folder == self.root:
            return True
        if not self.settings.recursive or not folder.startswith(self.root + os.sep) or self.is_beyond(folder):
            return False
        # Trash, thumbnails and older versions; and where rsync and the like keep what is not whole yet.
        if any(map(self._ignored.match, self.relative(folder).split(os.sep))):
            return False
        return not self.is_ours(folder)

    def is_ours(self, folder: str) -> bool:
        """Whether this is one of our own folders, or within one."""
        return any(folder == ours or folder.startswith(ours + os.sep) for ours in self.excluded)

    def is_beyond(self, folder: str) -> bool:
        """Whether this folder lies deeper than is looked, or its path is longer than can be opened."""
        deep = folder.count(os.sep, len(self.root)) > DEEPEST
        return deep or (4 * len(folder) > LONGEST_BYTES and len(os.fsencode(folder)) > LONGEST_BYTES)

    def relative(self, path: str) -> str:
        return path[len(self.root) + 1 :]

    def camera(self, path: str) -> str:
        """Name the camera of an image, by `watch[].camera`."""
        return self._naming(path[len(self.root) + 1 :])

    @property
    def names_by_folder(self) -> bool:
        """Whether cameras have folders of their own, and go with these."""
        return self.settings.camera is None or self.settings.camera == 1

    def cameras(self) -> Iterator[str]:
        """Name the cameras that have a folder here, some several times; none where the root is away."""
        descent = Descent()
        while (inner := descent.next()) is not None:
            folder = f"{self.root}/{inner}" if inner else self.root
            linked = [path for path in self.links.places if os.path.dirname(path) == folder]
            with suppress(OSError), listed(self.links.true(folder)) as (_, entries):
                below = (f"{folder}/{each.name}" for each in entries if _is_folder(each))
                for path in filter(self.reaches, chain(below, linked)):
                    if self.settings.camera is None and is_date(self.relative(path)):
                        descent.found(os.path.basename(path))
                    elif not descent.again:
                        yield as_text(self.camera(os.path.join(path, "")))

    def images(self) -> Iterator[str]:
        return (path for path, _ in self.entries())

    def entries(
        self,
        start: str | None = None,
        *,
        told: Told = lambda *_: None,
        tally: Tally | None = None,
    ) -> Iterator[Found]:
        """Walk the images at or below `start` lazily; links to folders are followed as `follow_links` says.

        Folders that vanish on the way are skipped; one that cannot be read raises OSError at the root only.
        Each is opened for itself, through no link, and `told` hears of it: its descriptor, or why there is
        none. What is passed by is counted by `tally`.
        """
        with self.inbox.inside():
            top: str | None = start or self.root
        links = self.links if self.settings.follow_links else None
        walk = Walk(links, self._ours, reaches=self.reaches, whole=start is None)
        while top:
            yield from self._entries_below(top, walk, told, tally)
            top = walk.next_link(tally)
        for path in walk.end():
            told(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))

    def _entries_below(self, top: str, walk: Walk, told: Told, tally: Tally | None) -> Iterator[Found]:
        """Walk one folder and all below it, in memory that does not depend on how many folders there are."""
        descent = Descent()
        while (inner := descent.next()) is not None:
            folder = f"{top}/{inner}" if inner else top
            if not self.reaches(folder):
                self._pass_by(folder, told, tally)
                continue
            try:
                with listed(self.links.true(folder)) as (fd, entries):
                    if descent.again:
                        _find_folders(entries, descent)
                    elif walk.enters(folder, fd, tally):
                        told(folder, fd)
                        yield from self._sort(folder, entries, descent, walk, tally)
            except OSError as error:
                if folder == self.root:
                    raise
                told(folder, error)

    def _pass_by(self, folder: str, told: Told, tally: Tally | None) -> None:
        if self.is_beyond(folder):
            told(folder, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))
        elif tally and self.settings.recursive and not self.is_ours(folder):
            tally.folder(folder)

    def _sort(
        self, folder: str, entries: Listing, descent: Descent, walk: Walk, tally: Tally | None
    ) -> Iterator[Found]:
        """Yield the images; have folders, and links to some, wait for their turn."""
        for entry in entries:
            if _is_folder(entry):
                descent.found(entry.name)
                continue
            path = f"{folder}/{entry.name}"
            if self.names_image(entry.name):
                yield path, entry
            elif walk.follows and self.reaches(path) and walk.waits(path, entry, tally):
                continue
            elif tally and not self.names_sidecar(entry.name):
                tally.file(path, entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _find_folders(entries: Listing, descent: Descent) -> None:
    for entry in entries:
        if _is_folder(entry):
            descent.found(entry.name)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, patterns)), re.IGNORECASE)
