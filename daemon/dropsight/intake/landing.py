"""Writes images into an inbox: whole, under a unique name, and on disk before it is acknowledged."""

import errno
import hashlib
import itertools
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from dropsight import crashpoints
from dropsight.files import beneath
from dropsight.files.disk import leave_room
from dropsight.images.header import suffix_of
from dropsight.intake.folder import DropFolder

LONGEST_NAME_BYTES = 64
_MARK_BYTES = 8
_MAGIC_BYTES = 64
# What all file systems take, and no shell or terminal trips over; letters of all scripts are among it.
_NOT_IN_NAMES = re.compile(r"[^\w .@~-]")
MOST_FOLDERS = 1_024
# One for each folder and sender, in the place of what a crash has left: a dropsight in another network
# namespace, which no lock keeps from this inbox, writes to the same folder.
PART = ".arriving-{}.part"
Reason: TypeAlias = Literal["too_large", "too_many_folders", "no_folder"]
# The fault of a name, or of what somebody has put in its place, for as long as it stands there.
_OF_THE_PLACE = {errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG}
_NO_RIGHT = {errno.EACCES, errno.EPERM}
# Of what somebody takes away while it is made, which he could do without an end.
TRIES = 3


class UnwelcomeError(Exception):
    """An image that will never be taken; `reason` counts it, the text says why."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason: Reason = reason


class Landing:
    """For one thread."""

    def __init__(self, folder: DropFolder, *, sender: str = "", most_folders: int = MOST_FOLDERS) -> None:
        self._folder, self._most_folders = folder, most_folders
        self._part = part_of(sender)
        self._numbers = itertools.count(1)

    @property
    def root(self) -> str:
        return self._folder.root

    def land(self, levels: Sequence[str], data: bytes | bytearray) -> None:
        """Have it in this sub-folder, durably; raises UnwelcomeError, or OSError where that may pass."""
        folder = self._folder_for(levels)
        for _ in range(TRIES):
            self._look_for_inbox()
            with suppress(FileNotFoundError, FileExistsError):
                self._land_in(folder, data)
                return
        self._look_for_inbox()
        text = f"what is written to {os.path.join(self.root, folder)} is taken away at once"
        raise UnwelcomeError("no_folder", text)

    def look_for_room(self, size: int) -> None:
        """Raise OSError where so many bytes cannot be taken."""
        with self._folder.inbox.inside() as fd:
            leave_room(fd, size)
        if not self._is_writable():
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def _is_writable(self) -> bool:
        return os.access(self._folder.inbox.true, os.W_OK | os.X_OK, effective_ids=True)

    def _look_for_inbox(self) -> None:
        """Raise OSError where it is its owner's to make, or its disk's to bring."""
        with self._folder.inbox.inside():
            pass

    def _land_in(self, folder: str, data: bytes | bytearray) -> None:
        try:
            self._make(folder)
            with self._folder.inbox.inside(folder) as fd:
                self._write(fd, data)
        except OSError as error:
            if not self._is_of_the_place(folder, error):
                raise
            text = f"{os.path.join(self.root, folder)} is not a writable folder: {error.strerror}"
            raise UnwelcomeError("no_folder", text) from error

    def _folder_for(self, levels: Sequence[str]) -> str:
        """Name one that images are taken from: not hidden, not ours, not passed by."""
        path = self.root
        for level in levels:
            name = folder_name(level)
            below = os.path.join(path, name)
            path = below if self._folder.reaches(below) else os.path.join(path, f"_{name}")
        if not self._folder.reaches(path):
            raise UnwelcomeError("no_folder", f"{path} is skipped because of watch.ignore or its depth")
        return path[len(self.root) + 1 :]

    def _make(self, folder: str) -> None:
        """Where it is not there yet."""
        inbox = self._folder.inbox
        try:
            with inbox.inside(folder):
                return
        except FileNotFoundError:
            pass
        if self._is_full():
            text = f"{self.root} holds {self._most_folders:,} folders: images of further cameras are refused"
            raise UnwelcomeError("too_many_folders", text)
        with inbox.inside(folder, make=True):
            pass
        while folder:
            folder = os.path.dirname(folder)
            with inbox.inside(folder) as fd:
                beneath.sync(fd)

    def _is_of_the_place(self, folder: str, error: OSError) -> bool:
        """Whether nothing but this folder is in the way, such as one that somebody has closed to us."""
        if error.errno not in _NO_RIGHT:
            return error.errno in _OF_THE_PLACE
        return bool(folder) and self._is_writable()

    def _is_full(self) -> bool:
        pending, count = [""], 0
        while pending and count < self._most_folders:
            inner = pending.pop()
            with suppress(OSError), self._folder.inbox.listed(inner) as entries:
                below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
                count += len(below)
                pending += [os.path.join(inner, name) for name in below]
        return count >= self._most_folders

    def _write(self, fd: int, data: bytes | bytearray) -> None:
        leave_room(fd, len(data))
        part, new = self._create(fd)
        try:
            with open(new, "wb") as file:
                file.write(data)
                crashpoints.reach("in_arrival_written")
                file.flush()
                os.fsync(file.fileno())
            crashpoints.reach("in_arrival_synced")
            self._name(fd, part, suffix_of(bytes(data[:_MAGIC_BYTES])))
        except OSError:
            with suppress(OSError):
                beneath.remove(fd, part)
            raise
        crashpoints.reach("in_arrival_named")
        beneath.sync(fd)

    def _create(self, fd: int) -> tuple[str, int]:
        try:
            return self._part, beneath.create(fd, self._part)
        except (IsADirectoryError, PermissionError):  # what somebody has put there is not ours to take away
            part = PART.format(secrets.token_hex(_MARK_BYTES))
            return part, beneath.create(fd, part)

    def _name(self, fd: int, part: str, suffix: str) -> None:
        while True:
            arrived = datetime.now(UTC).strftime("%Y%m%dT%H%M%S-%f")
            with suppress(FileExistsError):
                beneath.rename_new(part, f"{arrived}-{next(self._numbers)}{suffix}", fd=fd, target_fd=fd)
                return


def part_of(sender: str) -> str:
    return PART.format(hashlib.blake2b(sender.encode(), digest_size=_MARK_BYTES).hexdigest())


def folder_name(level: str) -> str:
    """Return a name that is no path, not hidden, and not too long."""
    name = _NOT_IN_NAMES.sub("_", level).rstrip(" .")
    if not name or name.startswith((".", " ", "-")):
        name = f"_{name}"
    if len(name.encode()) <= LONGEST_NAME_BYTES:
        return name
    mark = hashlib.blake2b(level.encode(), digest_size=_MARK_BYTES // 2).hexdigest()
    short = name.encode()[: LONGEST_NAME_BYTES - _MARK_BYTES - 1].decode(errors="ignore")
    return f"{short.rstrip(' .')}-{mark}"
