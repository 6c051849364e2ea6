"""Keeping processed/ and failed/ within their age and size."""

import contextlib
import heapq
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from dropsight.config import Retention, Watch
from dropsight.service.clock import Clock
from dropsight.service.filing import PART_SUFFIX

log = logging.getLogger(__name__)

SECONDS_A_DAY = 86_400
BATCH = 1_000
# A copy grows, or its disk hangs.
ABANDONED_SECONDS = 3_600
_PART = re.compile(rf"[0-9a-f]{{32}}{re.escape(PART_SUFFIX)}")
Aged = tuple[float, int, str]  # monotonic seconds of its coming, bytes, path


def sweep(settings: Watch, clock: Clock) -> int:
    """Delete what is too old or too much in the watch's processed and failed folders; say how many."""
    places = {settings.processed, settings.failed}
    return sum(sweep_folder(place, settings.retention, clock) for place in places)


def sweep_folder(folder: Path, retention: Retention, clock: Clock) -> int:
    """Delete the oldest first. A file's age counts from when it came here (ctime), not from its photo's date.

    Memory is bounded however many files there are: a pass remembers the oldest thousand only.
    """
    removed = 0
    if folder.is_symlink():  # who puts one there chooses what is deleted
        log.warning("%s is a link: nothing is deleted behind it; name the folder itself", folder)
        return 0
    clock.look()
    while True:
        oldest, total_bytes = _survey(folder, clock)
        gone = _remove(oldest, total_bytes, retention, now=clock.monotonic())
        removed += gone
        if gone < BATCH:
            break
    if removed:
        log.info("%s: deleted %d files beyond the retention", folder, removed)
    return removed


def _survey(folder: Path, clock: Clock) -> tuple[list[Aged], int]:
    total = 0

    def counted() -> Iterator[Aged]:
        nonlocal total
        for aged in _files(folder, clock):
            total += aged[1]
            yield aged

    return heapq.nsmallest(BATCH, counted()), total


def _files(folder: Path, clock: Clock) -> Iterator[Aged]:
    for entry in _entries(folder):
        try:
            stat = entry.stat(follow_symlinks=False)
            since = clock.since(stat.st_ctime)
            if _PART.fullmatch(entry.name) and clock.monotonic() - since > ABANDONED_SECONDS:
                os.unlink(entry.path)
                continue
        except OSError:
            continue
        yield since, stat.st_size, entry.path


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All but folders; no link is followed.

    Without recursion, which os.walk needs up to Python 3.11: folders may be nested beyond its bound.
    """
    pending = [os.fspath(folder)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    yield entry


def _remove(oldest: list[Aged], total_bytes: int, retention: Retention, *, now: float) -> int:
    gone = 0
    for changed, size, path in oldest:
        too_old = retention.days is not None and now - changed > retention.days * SECONDS_A_DAY
        too_much = retention.max_bytes is not None and total_bytes > retention.max_bytes
        if not (too_old or too_much):
            break
        try:
            os.unlink(path)
        except OSError as error:
            log.warning("%s: cannot be deleted: %s", path, error.strerror)
        else:
            total_bytes -= size
            gone += 1
    return gone
