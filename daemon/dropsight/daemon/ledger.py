"""Which files that stay in their folders are on record, by the id that they would get."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from dropsight.errors import DamagedError, StoreError
from dropsight.records import drop_id
from dropsight.service.backlog import Candidate
from dropsight.service.dropfolder import DropFolder
from dropsight.service.store import JournalReader


class Ledger:
    """Thread-safe: a reader a thread. `refuses` tells of images that are to stay where they are for now.

    What stays for good: all in a folder with `after: keep`, and what is larger than an image may be where it
    cannot be filed away.
    """

    def __init__(
        self,
        journal: Path,
        *,
        device: str,
        refuses: Callable[[str], bool] = lambda _: False,
        max_bytes: int = sys.maxsize,
    ) -> None:
        self._journal, self._device, self._refuses = journal, device, refuses
        self._max_bytes = max_bytes
        self._local = threading.local()

    def holds(self, candidate: Candidate, stat: os.stat_result) -> bool:
        return self._refuses(candidate.path) or self._holds(candidate.folder, candidate.path, stat)

    def skips(self, folder: DropFolder, path: str) -> bool:
        """Whether a scan may pass by this path."""
        if self._refuses(path):
            return True
        if folder.settings.after != "keep":
            return False
        try:
            return self._holds(folder, path, os.lstat(path))
        except OSError:
            return False

    def gone(self, folders: Sequence[DropFolder]) -> list[str]:
        """Ids whose file is no longer there as it was: nobody will ask for them again.

        A folder with nothing in it at all may be a disk that is not mounted: then they stay.
        """
        if not all(_has_images(folder) for folder in folders if folder.settings.after == "keep"):
            return []
        return [
            record_id
            for record_id, path in self._reader().kept()
            if not self._stands(record_id, path, folders)
        ]

    def _stands(self, record_id: str, path: bytes, folders: Sequence[DropFolder]) -> bool:
        name = os.fsdecode(path)
        folder = next((folder for folder in folders if folder.wants(name)), None)
        try:
            return folder is not None and self._id(folder, name, os.lstat(name)) == record_id
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a share that does not answer
            return True

    def _holds(self, folder: DropFolder, path: str, stat: os.stat_result) -> bool:
        if folder.settings.after != "keep" and stat.st_size <= self._max_bytes:
            return False
        try:
            return self._reader().is_kept(self._id(folder, path, stat))
        except DamagedError:
            raise
        except StoreError:  # the recorder finds out as well, and waits
            return False

    def _id(self, folder: DropFolder, path: str, stat: os.stat_result) -> str:
        return drop_id(self._device, os.fsencode(folder.relative(path)), stat.st_size, stat.st_mtime_ns)

    def _reader(self) -> JournalReader:
        if not hasattr(self._local, "reader"):
            self._local.reader = JournalReader(self._journal)
        reader: JournalReader = self._local.reader
        return reader


def _has_images(folder: DropFolder) -> bool:
    try:
        return next(folder.images(), None) is not None
    except OSError:
        return False
