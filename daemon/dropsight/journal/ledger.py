"""Which files that stay in their folders are on record."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from dropsight.errors import DamagedError, ImageError, StoreError
from dropsight.intake.candidate import Candidate
from dropsight.intake.clock import Clock
from dropsight.intake.folder import DropFolder
from dropsight.journal.kept_files import BATCH, Kept, KeptChanges, KeptReader, digest_of_file, tells_no_change
from dropsight.records import drop_id

# A file that is not there may be on a disk that is not.
MISSED_SECONDS = 30 * 86_400.0
MOST_MISSED = 500_000


class Ledger:
    """Thread-safe: one reader per thread.

    What stays for good: all in a folder with `after: keep`, and what is larger than an image may be where it
    cannot be filed away. `refuses` tells of images that are to stay where they are for now, `is_filed` of
    those that were filed in a folder which is an inbox's by now; `note` takes the journal's news.
    """

    def __init__(
        self,
        journal: Path,
        *,
        device: str,
        note: Callable[[KeptChanges], None],
        refuses: Callable[[DropFolder, str], bool] = lambda *_: False,
        is_filed: Callable[[str, os.stat_result], bool] = lambda *_: False,
        max_bytes: int = sys.maxsize,
    ) -> None:
        self._journal, self._device, self._note = journal, device, note
        self._refuses, self._is_filed = refuses, is_filed
        self._max_bytes = max_bytes
        self._local = threading.local()

    def holds(
        self, candidate: Candidate, stat: os.stat_result, *, gets_on: Callable[[], None] = lambda: None
    ) -> bool:
        """See `intake.examiner.OnRecord`; as an image, nothing is read that is too large for one."""
        folder, path = candidate.folder, candidate.path
        if self._refuses(folder, path) or self._is_filed(path, stat):
            return True
        found = self._known(folder, path, stat)
        if not isinstance(found, Kept):
            return found
        if stat.st_size > self._max_bytes and not candidate.is_clip:
            return False
        is_shifted = found.is_shifted(stat)
        # Who has just closed it may have opened it only to set its time back: then its content tells. A time
        # of writing may be earlier as well, where a clock was set back, or the recorded time ahead.
        is_set_back = stat.st_mtime_ns < found.mtime_ns and not (is_shifted or tells_no_change(stat))
        was_written = candidate.closed and not is_set_back
        if (is_shifted or not found.as_recorded(stat)) and (was_written or candidate.renamed):
            return False
        return self._is_the_same(folder, found, path, stat, gets_on)

    def knows_its_name(self, candidate: Candidate) -> bool:
        """See `intake.examiner.OnRecord`."""
        try:
            return candidate.folder.settings.after == "keep" and self._reader().at(candidate.path) is not None
        except DamagedError:
            raise
        except StoreError:  # the recorder finds out as well, and waits
            return False

    def skips(self, folder: DropFolder, path: str, stat: os.stat_result) -> bool:
        """Whether a scan may pass by this path. It reads no file: other folders wait for its end."""
        if self._refuses(folder, path) or self._is_filed(path, stat):
            return True
        return folder.settings.after == "keep" and self._known(folder, path, stat) is True

    def news(self, folders: Sequence[DropFolder], clock: Clock) -> Iterator[KeptChanges]:
        """Find files that have not been there for a month, and forget them; some hundreds at a time.

        A folder with nothing in it at all may be a disk that is not mounted: then they stay, as does all in
        an inbox that is not in the config, for it may come back. What an earlier version recorded is known
        without the device's name from now on.
        """
        if not all(_has_images(folder) for folder in folders if folder.settings.after == "keep"):
            return
        gone = (kept.path for kept in self._reader().all() if _is_gone(kept.path, folders))
        room = MOST_MISSED - self._reader().count_missed()
        while some := list(islice(gone, BATCH)):
            yield (news := self._of_gone(some, clock, room))
            room -= len(news.missed)
        back = (path for path in self._reader().missed() if self._is_back(path, folders))
        while some := list(islice(back, BATCH)):
            yield KeptChanges(back=some)
        former = self._reader().former()
        while rows := list(islice(former, BATCH)):
            yield self._of_former(rows, folders)

    def _of_gone(self, paths: Sequence[bytes], clock: Clock, room: int) -> KeptChanges:
        news = KeptChanges()
        for path in paths:
            since = self._reader().missed_since(path)
            if since is None and len(news.missed) < room:
                news.missed.append((path, clock.wall()))
            elif since is None or clock.age_seconds(since) > MISSED_SECONDS:
                news.gone.append(path)
        return news

    def _is_back(self, path: bytes, folders: Sequence[DropFolder]) -> bool:
        """Or forgotten, by an earlier version."""
        return not _is_gone(path, folders) or self._reader().at(os.fsdecode(path)) is None

    def _of_former(self, rows: Sequence[tuple[str, bytes]], folders: Sequence[DropFolder]) -> KeptChanges:
        news = KeptChanges()
        for record_id, path in rows:
            if not _is_in_any(os.fsdecode(path), folders):
                continue
            try:
                kept = self._former_at(record_id, os.fsdecode(path), folders)
            except OSError:  # a share that does not answer
                continue
            news.known.extend([kept] if kept else [])
            news.former.append(record_id)
        return news

    def _former_at(self, record_id: str, path: str, folders: Sequence[DropFolder]) -> Kept | None:
        folder = next((folder for folder in folders if folder.wants(path)), None)
        return former_at(folder, path, record_id, device=self._device) if folder else None

    def _known(self, folder: DropFolder, path: str, stat: os.stat_result) -> bool | Kept:
        """Whether it is on record; what is known of it where only its content can tell."""
        if folder.settings.after != "keep" and stat.st_size <= self._max_bytes:
            return False
        try:
            kept = self._reader().at(path)
            if kept is None:
                return self._reader().is_former(self._former_id(folder, path, stat))
        except DamagedError:
            raise
        except StoreError:  # the recorder finds out as well, and waits
            return False
        if not kept.as_recorded(stat):
            return kept if kept.may_have_its_time_set(stat) else False
        return kept.untouched(stat) or kept

    def _is_the_same(
        self, folder: DropFolder, kept: Kept, path: str, stat: os.stat_result, gets_on: Callable[[], None]
    ) -> bool:
        """Whether the content is as it was: permissions or the disk may be others, as after a move."""
        if kept.digest is None:
            return False
        read_ns = time.time_ns()
        try:
            same = digest_of_file(folder, path, gets_on=gets_on) == kept.digest
        except (OSError, ImageError):  # whoever takes the image finds out
            return False
        if same:
            self._note(KeptChanges(known=[Kept.of(path, stat, kept.digest, read_ns=read_ns)]))
        return same

    def _former_id(self, folder: DropFolder, path: str, stat: os.stat_result) -> str:
        return _id_of(folder, path, stat, device=self._device)

    def _reader(self) -> KeptReader:
        if not hasattr(self._local, "reader"):
            self._local.reader = KeptReader(self._journal)
        reader: KeptReader = self._local.reader
        return reader


def former_at(folder: DropFolder, path: str, record_id: str, *, device: str, repeat: int = 0) -> Kept | None:
    """Return what is known of a file by its record's id; None where it is gone or another by now.

    Raises OSError where that cannot be told.
    """
    try:
        stat = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if _id_of(folder, path, stat, device=device, repeat=repeat) != record_id:
        return None
    return msgspec.structs.replace(Kept.of(path, stat, None), changed_ns=None)


def _id_of(folder: DropFolder, path: str, stat: os.stat_result, *, device: str, repeat: int = 0) -> str:
    relative = os.fsencode(folder.relative(path))
    return drop_id(device, relative, stat.st_size, stat.st_mtime_ns, repeat=repeat)


def _is_in_any(path: str, folders: Sequence[DropFolder]) -> bool:
    return any(path.startswith(folder.root + os.sep) for folder in folders)


def _is_gone(path: bytes, folders: Sequence[DropFolder]) -> bool:
    name = os.fsdecode(path)
    if not _is_in_any(name, folders):
        return False
    try:
        os.lstat(name)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a share that does not answer
        return False
    return False


def _has_images(folder: DropFolder) -> bool:
    try:
        return next(folder.images(), None) is not None
    except OSError:
        return False
