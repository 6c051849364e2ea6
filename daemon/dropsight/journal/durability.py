"""Images are on disk before their record is, and their new places before the record counts as filed."""

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Sequence

from dropsight.errors import StoreError, reason
from dropsight.files.disk import sync_file, sync_file_system
from dropsight.intake.candidate import Candidate
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.status.troubles import Troubles

SYNC_SECONDS = 1.0
SYNCING = "syncing"
FEW_IMAGES = 2
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# What whoever may write to an inbox can have a folder in it be.
_OF_THE_PLACE = {errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}


class Durability:
    """Used by the recorder's thread alone, but for `sync_ahead`.

    For a group of records a file system is synced as a whole: file by file, each image costs a disk two
    flushes. One or two images are synced by themselves, and wait for nobody else's writing. What was moved
    is on disk with the images of the next group, or within a second. Where `images` is
    false nothing of this is done, and a loss of power may empty or bring back what was recorded before it.
    Images on `slow` disks are synced by whoever brings them, so that no others wait for that.
    """

    def __init__(self, troubles: Troubles, slow: SlowInboxes, *, images: bool) -> None:
        self._troubles, self._slow, self._images = troubles, slow, images
        self._moved: list[int] = []
        self._places: set[str] = set()
        self._next_sync = 0.0
        self.filed: list[int] = []
        """The seqs of images that are where they belong for good; the journal has yet to hear of them."""

    @property
    def at_rest(self) -> bool:
        return not (self._moved or self.filed)

    def moved(self, seq: int, *places: str) -> None:
        """The image of this record was filed away; `places` are the folders that it came from and went to."""
        if self._images:
            if not self._moved:
                self._next_sync = time.monotonic() + SYNC_SECONDS
            self._moved.append(seq)
            self._places.update(places)
        else:
            self.filed.append(seq)

    def on_disk(self, seq: int) -> None:
        """As `moved`, where the image's new place is on disk already."""
        self.filed.append(seq)

    def sync_ahead(self, candidate: Candidate) -> None:
        """Have an image on a slow disk there before the recorder has it in hand. From any thread."""
        candidate.is_synced = False
        if self._images and self._slow.holds(candidate.folder):
            with contextlib.suppress(OSError), self._slow.at_work(candidate.folder):
                sync_file(candidate.path)
                candidate.is_synced = True

    def sync_if_due(self) -> None:
        if self._moved and time.monotonic() >= self._next_sync:
            self.sync()

    def sync_images(self, images: Sequence[Candidate]) -> None:
        """Have these on disk, as `sync`, whose disks are seen to be slow by how long that takes."""
        left = [each for each in images if not each.is_synced]
        if not left or not self._images:
            return
        with contextlib.ExitStack() as stack:
            for folder in {each.folder for each in left}:
                stack.enter_context(self._slow.at_work(folder))
            self.sync([each.path for each in left])

    def sync(self, images: Sequence[str] = ()) -> None:
        """Have these images on disk, and all that was moved.

        Where a disk cannot, that is told: records go on being made, but none of them counts as filed.
        """
        if not self._images or (images and _synced_each(images)):
            return
        self._next_sync = time.monotonic() + SYNC_SECONDS
        try:
            folders = {path.rpartition(os.sep)[0] for path in images}
            for place in _one_a_file_system(self._places | folders):
                with contextlib.suppress(FileNotFoundError):
                    sync_file_system(place)
        except OSError as error:
            text = f"what was written to {error.filename} may be lost at a power failure: {reason(error)}"
            self._troubles.raised(SYNCING, StoreError(text))
            return
        self._troubles.cleared(SYNCING)
        self.filed += self._moved
        self._moved, self._places = [], set()

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
