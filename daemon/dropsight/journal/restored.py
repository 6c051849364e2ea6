"""A journal that is older than the log, as one from a backup: the log knows more of the kept images."""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, takewhile
from pathlib import Path

import msgspec

from dropsight.intake.folder import DropFolder
from dropsight.journal.kept_files import BATCH, Kept, KeptChanges
from dropsight.journal.ledger import former_at
from dropsight.journal.log_files import backup_files, copies_by_date, readable_lines
from dropsight.journal.resultlog import path_apart
from dropsight.journal.store import Journal
from dropsight.records import Glance

log = logging.getLogger(__name__)

_TAIL_BYTES = 65_536


class _Logged(msgspec.Struct):
    id: str = ""
    image_path: str = ""
    time: str = ""


_logged = Glance(_Logged)


def note_logged(store: Journal, path: Path, folders: Sequence[DropFolder], *, device: str) -> None:
    """Note the files that stay in their folders and are on record by the log alone; raises StoreError.

    Of the newest files of the log, as far as they have no record of the journal's in them.
    """
    keeping = [folder for folder in folders if folder.settings.after == "keep"]
    noted = 0
    for each in (path, path_apart(path)) if keeping else ():
        found = _kept(each, store, keeping, device)
        while some := list(islice(found, BATCH)):
            store.note_kept(KeptChanges(known=some))
            noted += len(some)
    if noted:
        log.warning("the journal is older than the log: %d kept images are on record by the log", noted)


def _kept(path: Path, store: Journal, folders: Sequence[DropFolder], device: str) -> Iterator[Kept]:
    newest = _logged.at(store.newest_line())

    def ends_newer(file: Path) -> bool:
        # Of failed images beyond their share, the last may have been long ago: forgotten, and not to come.
        last = _logged.at(_last_line(file))
        return not last.id or not (store.has(last.id) or last.time <= newest.time)

    if not ends_newer(path):
        return
    for file in chain([path], *(takewhile(ends_newer, files) for files in _rotated(path))):
        for logged in map(_logged.at, readable_lines(file)):
            if logged.image_path and not store.has(logged.id):
                yield from _kept_at(logged, folders, device)


def _kept_at(logged: _Logged, folders: Sequence[DropFolder], device: str) -> Iterator[Kept]:
    """Yield its file. Of files just alike in several inboxes no more are on record than there are lines."""
    paths = [(folder, f"{folder.root}/{logged.image_path}") for folder in folders]
    there = [(folder, path) for folder, path in paths if os.path.lexists(path)]
    for repeat in range(len(there)):
        alike: list[Kept] = []
        for folder, path in there:
            with suppress(OSError, ValueError):
                if kept := former_at(folder, path, logged.id, device=device, repeat=repeat):
                    alike.append(kept)
        if alike:
            yield from alike[repeat : repeat + 1]
            return


def _rotated(path: Path) -> Iterator[list[Path]]:
    """Our own copies, or logrotate's by number, then those by date; of each the newest first."""
    with suppress(OSError):
        yield [backup for _, backup in sorted(backup_files(path))]
        yield copies_by_date(path)


def _last_line(path: Path) -> bytes:
    """Empty where there is none, or it cannot be read."""
    if path.suffix == ".gz":
        return next(iter(deque(readable_lines(path), maxlen=1)), b"")
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(os.fstat(file.fileno()).st_size - _TAIL_BYTES, 0))
        return file.read().rstrip(b"\n").rpartition(b"\n")[2]
    return b""
