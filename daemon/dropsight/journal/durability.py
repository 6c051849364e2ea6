"""Images are on disk before their record is, and their new places before the record counts as filed."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from dropsight.errors import StoreError, reason
from dropsight.files.disk import sync_file, sync_file_system, sync_folder
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.journal.recording import Finished
from dropsight.status.troubles import Troubles

SYNC_SECONDS = 1.0
SYNCING = "syncing"
FEW_IMAGES = 2
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# What whoever may write to an inbox can have a folder in it be.
_OF_THE_PLACE = {errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}


class Syncing:
    """Thread-safe. Where a disk cannot, that is told: `whose` disk it is keeps it apart from others'.

    Where `images` is false nothing of this is done, and a loss of power may empty or bring back what was
    recorded before it.
    """

    def __init__(self, troubles: Troubles, *, images: bool) -> None:
        self._troubles, self.is_wanted = troubles, images
        self._failing: dict[Hashable, StoreError] = {}
        self._lock = threading.Lock()

    def images(self, whose: Hashable, paths: Sequence[str]) -> bool:
        """Have these images on disk; tell whether they are.

        File by file, each image costs a disk two flushes: many are synced with all of their file system. One
        or two are synced by themselves, and wait for nobody else's writing.
        """
        if not self.is_wanted or _synced_each(paths):
            return True
        return self.file_systems(whose, {path.rpartition(os.sep)[0] for path in paths})

    def file_systems(self, whose: Hashable, folders: Iterable[str]) -> bool:
        """Have all on disk that was written to the file systems of these; tell whether it is."""
        return self._told(whose, lambda: _one_a_file_system(folders), sync_file_system)

    def names(self, whose: Hashable, folders: Iterable[str]) -> bool:
        """Have the names in these folders on disk; tell whether they are."""
        return self._told(whose, lambda: set(map(_nearest, folders)), sync_folder)

    def _told(
        self, whose: Hashable, places: Callable[[], Iterable[str]], sync: Callable[[str], None]
    ) -> bool:
        if not self.is_wanted:
            return True
        try:
            for place in places():
                with contextlib.suppress(FileNotFoundError):
                    sync(place)
        except OSError as error:
            text = f"what was written to {error.filename} may be lost at a power failure: {reason(error)}"
            with self._lock:
                self._failing[whose] = StoreError(text)
                self._troubles.raised(SYNCING, self._failing[whose])
            return False
        with self._lock:
            self._failing.pop(whose, None)
            if self._failing:
                self._troubles.raised(SYNCING, next(iter(self._failing.values())))
            else:
                self._troubles.cleared(SYNCING)
        return True


class Durability:
    """Used by the recorder's thread alone: of what lies on the journal's own disk, for which all wait anyway.

    What was moved is on disk with the images of the next group, or within a second. What lies on other disks
    is synced by threads of its inboxes. `state` is a folder on the journal's disk.
    """

    def __init__(self, syncing: Syncing, slow: SlowInboxes, state: Path) -> None:
        self._syncing, self._is_own, self._state = syncing, slow.is_own, str(state)
        self._moved: list[int] = []
        self._next_sync = 0.0
        self.filed: list[int] = []
        """The seqs of images that are where they belong for good; the journal has yet to hear of them."""

    @property
    def at_rest(self) -> bool:
        return not (self._moved or self.filed)

    def moved(self, seq: int) -> None:
        """The image of this record was filed away."""
        if self._syncing.is_wanted:
            if not self._moved:
                self._next_sync = time.monotonic() + SYNC_SECONDS
            self._moved.append(seq)
        else:
            self.filed.append(seq)

    def on_disk(self, seqs: Iterable[int]) -> None:
        """As `moved`, where the images' new places are on disk already."""
        self.filed += seqs

    def sync_if_due(self) -> None:
        if self._moved and time.monotonic() >= self._next_sync:
            self.sync()

    def sync_images(self, images: Sequence[Finished]) -> None:
        """Have those of them on disk that nobody else sees to."""
        if near := [each.path for each in images if self._is_own(each.stat.st_dev)]:
            self.sync(near)

    def sync(self, images: Sequence[str] = ()) -> None:
        """Have these images on disk, and all that was moved.

        Where the disk cannot, records go on being made, but none of them counts as filed.
        """
        if not self._syncing.is_wanted or (images and _synced_each(images)):
            return
        self._next_sync = time.monotonic() + SYNC_SECONDS
        if self._syncing.file_systems(None, [self._state]):
            self.filed += self._moved
            self._moved = []

    def settled(self) -> None:
        self.filed = []


def _synced_each(paths: Sequence[str]) -> bool:
    """Whether they were few enough, and files that can be opened."""
    if len(paths) > FEW_IMAGES:
        return False
    try:
        for path in paths:
            sync_file(path)
    except OSError:
        return False
    return True


def _one_a_file_system(folders: Iterable[str]) -> Iterable[str]:
    found: dict[int, str] = {}
    for folder in map(_nearest, folders):
        with contextlib.suppress(FileNotFoundError):
            found.setdefault(os.stat(folder).st_dev, folder)
    return found.values()


def _nearest(folder: str) -> str:
    """Name this folder, or the nearest above it where it was closed to us or replaced since."""
    while True:
        try:
            os.close(os.open(folder, _FOLDER))
        except OSError as error:
            if error.errno not in _OF_THE_PLACE:
                return folder  # which fails for whoever syncs it
        else:
            return folder
        folder = os.path.dirname(folder)
