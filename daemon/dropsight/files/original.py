"""The image as it lies in its inbox folder: it leaves only as the very file that was read."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from stat import S_ISREG
from typing import NamedTuple

import msgspec

from dropsight import crashpoints
from dropsight.files.beneath import look, remove, rename_new
from dropsight.files.filesystems import numbers_anew

Identity = tuple[int, int, int, int]  # device, inode, size, mtime_ns
PART_SUFFIX = ".dropsight-part"
REASON_SUFFIX = ".reason.json"
# Of a sidecar, filed beside its image.
TAGS_SUFFIX = ".tags.json"
NAME_BYTES = 255
LONGEST_SUFFIX = 16


class FiledAt(NamedTuple):
    """The name or path that an image was given, and as what it was found there right after, if it was."""

    path: str
    stat: os.stat_result | None = None


def identity(stat: os.stat_result) -> Identity:
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


class Original(msgspec.Struct, frozen=True):
    """`fd` is of the folder that it lies in; `root` is the inbox."""

    fd: int
    name: str
    stat: os.stat_result
    record_id: str
    root: str
    has_content: Callable[[int, str], bool] | None = None
    """Whether what lies in a folder by a name has the content that was read, where that is known.

    Raises OSError.
    """

    @property
    def has_one_name(self) -> bool:
        """Whether it is a regular file that nobody has a second name of: he could alter what is filed."""
        return S_ISREG(self.stat.st_mode) and self.stat.st_nlink <= 1

    @classmethod
    def find(
        cls,
        fd: int,
        path: str,
        expected: Identity,
        record_id: str,
        *,
        root: str,
        has_content: Callable[[int, str], bool] | None = None,
    ) -> "Original | None":
        """Return None where it is gone, or another by now; if its content is known, that is to be asked."""
        name = path.rpartition(os.sep)[2]
        stat = look(fd, name)
        is_it = stat and (_is_as(stat, expected, root) or (has_content and _may_be(stat, expected, root)))
        return cls(fd, name, stat, record_id, root, has_content) if stat and is_it else None

    def move(self, fd: int, target: str) -> FiledAt | None:
        """Rename into another folder, replacing nothing; None where it was another file after all.

        Only what has been renamed can no longer be exchanged: it is looked at there, and goes back. Raises
        OSError EXDEV where only a copy will do, of what lies elsewhere or has got a second name.
        """
        rename_new(self.name, target, fd=self.fd, target_fd=fd)
        stat = look(fd, target)
        if stat is None:
            return FiledAt(target)
        is_it = self._lies_there(stat, fd, target)
        if is_it and stat.st_nlink <= 1:
            return FiledAt(target, stat)
        _put_back(fd, target, self.fd, self.name, self.record_id)
        if is_it:
            raise OSError(errno.EXDEV, "it has a second hard link", self.name)
        return None

    def delete(self) -> bool:
        """As `move`, but to nowhere; False also where it is gone."""
        try:
            self._make_private()
        except FileNotFoundError:
            return False
        crashpoints.reach("in_deleting")
        return self._settle_private()

    def _make_private(self) -> None:
        private = private_name(self.record_id)
        try:
            rename_new(self.name, private, fd=self.fd, target_fd=self.fd)
        except FileExistsError:  # of an earlier life
            self._settle_private()
            rename_new(self.name, private, fd=self.fd, target_fd=self.fd)

    def _settle_private(self) -> bool:
        private = private_name(self.record_id)

        def is_it(stat: os.stat_result) -> bool:
            return self._lies_there(stat, self.fd, private)

        return settle_private(self.fd, self.name, self.record_id, is_it)

    def _lies_there(self, stat: os.stat_result, fd: int, name: str) -> bool:
        """Whether it lies by this name now: its time may have been set, or be known to its share, since."""
        if self.is_it(stat) or self.has_content is None:
            return self.is_it(stat)
        with suppress(OSError):  # not to be read, it goes back
            return _may_be(stat, identity(self.stat), self.root) and self.has_content(fd, name)
        return False

    def is_it(self, stat: os.stat_result) -> bool:
        """Whether this is the file that was found, as far as its share can tell."""
        return _is_as(stat, identity(self.stat), self.root)


def _is_as(stat: os.stat_result, expected: Identity, root: str) -> bool:
    found = identity(stat)
    # Some shares number a file anew: its size and time must do.
    return found == expected or (found[2:] == expected[2:] and numbers_anew(root))


def _may_be(stat: os.stat_result, expected: Identity, root: str) -> bool:
    """Whether it may be that file, whose time was set since, or which a share knows by now."""
    found = identity(stat)
    is_it = found[:3] == expected[:3] or (found[2] == expected[2] and numbers_anew(root))
    return is_it and S_ISREG(stat.st_mode)


def private_name(record_id: str) -> str:
    """Return the name of what is about to go: hidden, so that nobody takes it for an image."""
    return f".{record_id}{PART_SUFFIX}"


def settle_private(fd: int, name: str, record_id: str, is_it: Callable[[os.stat_result], bool]) -> bool:
    """Delete what was about to go, also in an earlier life; a stranger's file goes back to its name.

    So does what cannot be deleted, which raises OSError.
    """
    private = private_name(record_id)
    stat = look(fd, private)
    if stat is None or is_it(stat):
        try:
            remove(fd, private)
        except OSError:  # hidden, it would lie there for ever
            with suppress(OSError):
                rename_new(private, name, fd=fd, target_fd=fd)
            raise
        return True
    _put_back(fd, private, fd, name, record_id)
    return False


def _put_back(fd: int, name: str, home: int, its_name: str, record_id: str) -> None:
    """Give a stranger's file its name again, or one like it where that is taken meanwhile."""
    try:
        rename_new(name, its_name, fd=fd, target_fd=home)
    except FileExistsError:
        rename_new(name, other_name(its_name, record_id), fd=fd, target_fd=home)


def other_name(target: str, record_id: str) -> str:
    """The name with a part of the id in it, cut so that a reason's name fits beside it."""
    folder, name = os.path.split(target)
    stem, suffix = os.path.splitext(name)
    if len(suffix) > LONGEST_SUFFIX:
        stem, suffix = name, ""
    mark = f".{record_id[:12]}{suffix}"
    room = NAME_BYTES - len(REASON_SUFFIX) - len(os.fsencode(mark))
    return os.path.join(folder, os.fsdecode(os.fsencode(stem)[:room]) + mark)
