"""Retention: keeps what dropsight put into processed/ and failed/ within age, size and number of files."""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import takewhile
from stat import S_ISDIR
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from dropsight.config import Retention
from dropsight.errors import is_passing
from dropsight.files.beneath import Top, born, look
from dropsight.files.descent import Descent
from dropsight.files.disk import BLOCK_BYTES
from dropsight.files.original import PART_SUFFIX, TAGS_SUFFIX
from dropsight.intake.clock import Clock
from dropsight.intake.folder import DropFolder
from dropsight.journal.filed import BATCH, FiledImages, is_as, is_ours
from dropsight.journal.schema import Shelved

log = logging.getLogger(__name__)

T = TypeVar("T")
SECONDS_A_DAY = 86_400
# As stat counts, whatever the file system's own are.
# A copy grows, or its disk hangs.
ABANDONED_SECONDS = 3_600
# What was filed just now may not be noted yet.
NOTED_SECONDS = 60
# As exact as times in the journal are.
BORN_SECONDS = 0.001
_PART = re.compile(rf"[0-9a-f]{{32}}{re.escape(PART_SUFFIX)}")


class _Pile(msgspec.Struct):
    """What is kept: bytes as the disk counts them, files as inodes."""

    bytes: int = 0
    files: int = 0

    def exceeds(self, retention: Retention) -> bool:
        too_large = retention.max_bytes is not None and self.bytes > retention.max_bytes
        return too_large or (retention.max_files is not None and self.files > retention.max_files)


class _Gone:
    """What the shelf has yet to forget: at the end, and whenever it is many."""

    def __init__(self, shelf: FiledImages) -> None:
        self._shelf, self._rows = shelf, list[Shelved]()

    def add(self, row: Shelved) -> None:
        self._rows.append(row)
        if len(self._rows) >= BATCH:
            self._forget()

    def _forget(self) -> None:
        self._shelf.forget(self._rows)
        self._rows.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._forget()


class Sweeper(msgspec.Struct):
    """Deletes what is too old, then the oldest of what is too much; memory does not depend on how much.

    Nothing more is deleted once it `is_stopped`: after a reload, by the bounds of another config.
    """

    clock: Clock
    in_use: frozenset[str] | None = None
    """The places that the config names, none of which was moved; None where not all are known."""
    stays: Callable[[str], bool] = lambda _: False
    """Whether what was filed in a place that the config no longer names is asked for there."""
    is_stopped: Callable[[], bool] = lambda: False
    _told: set[str] = msgspec.field(default_factory=set)

    def until(self, is_stopped: Callable[[], bool]) -> None:
        """Take who tells that it is."""
        self.is_stopped = is_stopped

    def sweep(self, folder: DropFolder, shelf: FiledImages, *, remembered_from: int) -> int:
        """Sweep the watch's processed and failed folders; say how many files went."""
        retention = folder.settings.retention
        return sum(
            self.sweep_place(place, retention, shelf, remembered_from=remembered_from)
            for place in {folder.processed, folder.failed}
        )

    def sweep_place(
        self, place: Top, retention: Retention, shelf: FiledImages, *, remembered_from: int
    ) -> int:
        """A file's age counts from when it came here, not from its photo's date.

        What is not there is forgotten once the journal has forgotten its record, too: its disk may be away.
        """
        if os.path.islink(place.path):  # who puts one there chooses what is deleted
            log.warning("%s is a link: nothing is deleted behind it; name the folder itself", place.path)
            return 0
        self.clock.look()
        try:
            with place.inside():
                return self._sweep(place, retention, shelf, remembered_from)
        except FileNotFoundError:
            return 0
        except OSError as error:
            log.warning("%s is not readable: %s", place.path, error.strerror)
            return 0

    def _sweep(self, place: Top, retention: Retention, shelf: FiledImages, remembered_from: int) -> int:
        self._take_over(place, shelf)
        pile, removed = _Pile(), 0
        strangers = self._clear_parts(place)
        with _Gone(shelf) as gone:
            for row in self._until_stopped(shelf.rows(os.fsencode(place.path))):
                there = _there(place, row)
                strangers -= sum(map(self._is_noted, there.values()))
                if there and self._is_too_old(row, retention):
                    removed += _remove(place, row, there, gone)
                elif there:
                    _weigh(there, pile)
                elif row.seq < remembered_from:
                    gone.add(row)
            rows = self._until_stopped(shelf.rows(os.fsencode(place.path)))
            removed += _shrink(place, rows, pile, retention, gone)
        self._tell(place.path, strangers=0 if self.is_stopped() else strangers, removed=removed)
        return removed

    def _until_stopped(self, some: Iterable[T]) -> Iterator[T]:
        return takewhile(lambda _: not self.is_stopped(), some)

    def _take_over(self, place: Top, shelf: FiledImages) -> None:
        """Know again what was filed here while this folder had another path, by the newest of it.

        Nothing was filed by this path before: else somebody has put the files of another folder here.
        By size and time, as on another disk an inode says nothing.
        """
        if self.in_use is None:
            return
        here = os.fsencode(place.path)
        for former in list(shelf.places()):
            path = os.fsdecode(former)
            if former == here or path in self.in_use or self.stays(path):
                continue
            rows, first = shelf.newest(former), shelf.oldest(here)
            is_before = first is None or (bool(rows) and rows[0].seq < first)
            if is_before and any(_is_copied(place, row) for row in rows):
                log.info("%s was %s: what was filed there is known again", place.path, path)
                shelf.move(former, here)

    def _is_too_old(self, row: Shelved, retention: Retention) -> bool:
        days = retention.days
        return days is not None and self.clock.age_seconds(row.filed_at) > days * SECONDS_A_DAY

    def _is_noted(self, stat: os.stat_result) -> bool:
        return self.clock.age_seconds(stat.st_ctime) > NOTED_SECONDS

    def _clear_parts(self, place: Top) -> int:
        """Remove half copies that nobody goes on with; count all other files, once a folder."""
        count = 0
        for name in self._until_stopped(_files(place)):
            if _PART.fullmatch(os.path.basename(name).decode(errors="replace")):
                stat = _look(place, name).get(name)
                if stat and self.clock.age_seconds(stat.st_ctime) > ABANDONED_SECONDS:
                    _unlink(place, name)
            elif place.path not in self._told and (stat := _look(place, name).get(name)):
                count += self._is_noted(stat)
        return count

    def _tell(self, folder: str, *, strangers: int, removed: int) -> None:
        if removed:
            log.info("%s: deleted %d files beyond the retention", folder, removed)
        if strangers > 0 and folder not in self._told:
            log.info("%s: %d files were not put there by dropsight: retention leaves them", folder, strangers)
        self._told.add(folder)


def _weigh(there: dict[bytes, os.stat_result], pile: _Pile) -> None:
    pile.bytes += sum(stat.st_blocks for stat in there.values()) * BLOCK_BYTES
    pile.files += len(there)


def _shrink(place: Top, rows: Iterator[Shelved], pile: _Pile, retention: Retention, gone: _Gone) -> int:
    """Delete the first of these, as long as there is too much."""
    removed = 0
    while pile.exceeds(retention) and (row := next(rows, None)):
        there = _there(place, row)
        if there and (count := _remove(place, row, there, gone)):
            removed += count
            pile.bytes -= sum(stat.st_blocks for stat in there.values()) * BLOCK_BYTES
            pile.files -= len(there)
    return removed


def _there(place: Top, row: Shelved) -> dict[bytes, os.stat_result]:
    """What is there of the image and of what lies beside it: a sidecar, and a reason or an overlay."""
    there = _look(place, row.name, row.name + os.fsencode(TAGS_SUFFIX))
    if row.name not in there or not is_ours(there[row.name], row) or _is_another(place, row, there[row.name]):
        there.clear()
    return there | (_look(place, row.beside) if row.beside else {})


def _is_another(place: Top, row: Shelved, there: os.stat_result) -> bool:
    """Whether somebody has made this file since, as by editing what he fetched: it may have that inode.

    So it counts as well where nobody says when it was made, as on NFS and on ext4 with small inodes.
    """
    if is_as(there, row.size, row.mtime_ns):
        return False
    with _folder_of(place, row.name) as fd:
        made_at = born(fd, os.fsdecode(os.path.basename(row.name)))
    return made_at is None or made_at > row.filed_at + BORN_SECONDS


def _is_copied(place: Top, row: Shelved) -> bool:
    there = _look(place, row.name).get(row.name)
    return there is not None and is_as(there, row.size, row.mtime_ns)


def _folder_of(place: Top, name: bytes) -> AbstractContextManager[int]:
    return place.inside(os.fsdecode(os.path.dirname(name)))


def _look(place: Top, *names: bytes) -> dict[bytes, os.stat_result]:
    """Return what is there of these in one folder, but for folders, and through no link.

    Raises OSError of a disk's fault.
    """
    there = {}
    try:
        with _folder_of(place, names[0]) as fd:
            for name in names:
                found = look(fd, os.fsdecode(os.path.basename(name)))
                if found and not S_ISDIR(found.st_mode):
                    there[name] = found
    except OSError as error:
        if is_passing(error):
            raise
    return there


def _remove(place: Top, row: Shelved, there: dict[bytes, os.stat_result], gone: _Gone) -> int:
    count = sum(_unlink(place, name) for name in there)
    if count == len(there):
        gone.add(row)
    return count


def _unlink(place: Top, name: bytes) -> bool:
    try:
        with _folder_of(place, name) as fd:
            os.unlink(os.path.basename(name), dir_fd=fd)
    except OSError as error:
        path = os.path.join(place.path, os.fsdecode(name))
        log.warning("%s: cannot be deleted: %s", path, error.strerror)
        return False
    return True


def _files(place: Top) -> Iterator[bytes]:
    """All but folders, by their names below this one; no link is followed."""
    descent = Descent()
    while (inner := descent.next()) is not None:
        with contextlib.suppress(OSError), place.listed(inner) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    descent.found(entry.name)
                elif not descent.again:
                    yield os.fsencode(os.path.join(inner, entry.name))
