"""The folders are the truth: walks that find what no event told of."""

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.names import as_text
from dropsight.service.backlog import Backlog
from dropsight.service.census import Census, Lying, lying
from dropsight.service.clock import Clock
from dropsight.service.dropfolder import DropFolder
from dropsight.service.finding import Finding
from dropsight.service.heartbeats import Heartbeats
from dropsight.service.lineup import Choice
from dropsight.service.refusals import Beyond, Refusals
from dropsight.service.troubles import Troubles
from dropsight.service.watcher import Watcher

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 60.0
CHUNK = 8_192
# What gave way in the backlog is looked for again soon, and for a tenth of the time at the most.
GAVE_WAY_SECONDS, PAUSES = 5.0, 10
# A walk that takes longer begins with what it has found: of a million images that is seconds.
LOOK_SECONDS = 0.25
NAME, CROWD = "scan", "crowd"
SHOWN = 3


class Scanner:
    """Walks the watched folders: at the start, when something may have been missed, every minute.

    It alone waits for room in the backlog. `skip` tells what is on record already, for folders whose
    files are kept.
    """

    def __init__(
        self,
        folders: Sequence[DropFolder],
        backlog: Backlog,
        *,
        skip: Callable[[DropFolder, str], bool],
        refusals: Refusals,
        troubles: Troubles,
        clock: Clock,
        finding: Finding,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._look_seconds = look_seconds
        self._censuses = {folder: Census(partial(backlog.finished_in, folder)) for folder in folders}
        self._backlog, self._skip, self._refusals, self._clock = backlog, skip, refusals, clock
        self._beyond, self._finding = Beyond(troubles), finding
        self._troubles, self._walk_seconds = troubles, dict.fromkeys(folders, 0.0)
        self.heartbeats = Heartbeats()
        self._watchers = {folder: Watcher(folder, backlog, self, self.heartbeats) for folder in folders}
        self._arrived: deque[tuple[DropFolder, str]] = deque()
        self._due = threading.Event()
        backlog.gave_way = self._due.set
        self._everything = threading.Event()
        self._stopped = False

    def start_watching(self) -> None:
        for watcher in self._watchers.values():
            watcher.start()

    def rescan(self) -> None:
        """Walk everything soon. From any thread."""
        self._everything.set()
        self._due.set()

    def look_into(self, folder: DropFolder, path: str) -> None:
        """Walk this folder soon: it came with things in it. From any thread."""
        self._arrived.append((folder, path))
        self._due.set()

    def stop(self) -> None:
        self._stopped = True
        self._due.set()

    def run(self) -> None:
        """Walk whenever there is reason to, until stopped."""
        next_walk = dict.fromkeys(self._watchers, 0.0)
        while not self._stopped:
            self.heartbeats.beat(NAME)
            crashpoints.reach("in_scanning")
            while self._arrived:
                folder, path = self._arrived.popleft()
                self.walk(folder, path)
            if self._everything.is_set():
                self._everything.clear()
                next_walk = dict.fromkeys(self._watchers, 0.0)
            for folder, watcher in self._watchers.items():
                if time.monotonic() >= next_walk[folder]:
                    watcher.renew_if_replaced()
                    began = time.monotonic()
                    self.walk(folder)
                    pause = folder.settings.poll_seconds if watcher.polling else RECONCILE_SECONDS
                    next_walk[folder] = time.monotonic() + pause
                    self._walk_seconds[folder] = time.monotonic() - began
            self._look_sooner(next_walk)
            self.heartbeats.rest(NAME)
            self._due.wait(max(min(next_walk.values()) - time.monotonic(), 0.0))
            self._due.clear()
        for watcher in self._watchers.values():
            watcher.stop()

    def _look_sooner(self, next_walk: dict[DropFolder, float]) -> None:
        """Where files gave way in the backlog, which is told of."""
        for folder in self._backlog.take_let_go():
            pause = max(GAVE_WAY_SECONDS, PAUSES * self._walk_seconds[folder])
            next_walk[folder] = min(next_walk[folder], time.monotonic() + pause)
        if told := self._backlog.crowded():
            more = f" (and {len(told) - SHOWN} more cameras)" if told[SHOWN:] else ""
            text = f"{'; '.join(told[:SHOWN])}{more}: further ones of the same camera have to wait"
            self._troubles.raised(CROWD, StoreError(text))
        else:
            self._troubles.cleared(CROWD)

    def walk(self, folder: DropFolder, start: str | None = None) -> None:
        """Offer the images at or below `start` to the backlog, the first in line first, waiting for room.

        Memory is bounded however many there are: what is not among the first is for another walk, soon.
        """
        choice = Choice(self._backlog.order, limit=CHUNK, camera_of=folder.camera)
        try:
            self._choose(choice, folder, start)
        except OSError as error:
            log.warning("%s cannot be read: %s", as_text(folder.root), error.strerror)
        except Exception:  # what one folder or file does to a walk must not end the others'
            log.exception(
                "%s: an internal error ended this walk; the next is in a minute", as_text(folder.root)
            )
        else:
            self._offer(folder, choice.take(CHUNK))
            if choice.left_out:
                self.rescan()

    def lying(self) -> Lying:
        """How much lies in the folders. From any thread."""
        return lying(self._censuses.values(), waiting=self._backlog.counters().waiting)

    def _choose(self, choice: Choice[str], folder: DropFolder, start: str | None) -> None:
        """Look at all that is there; a long walk begins with the first in line of what it has found."""
        census = self._censuses[folder] if start is None else Census(lambda: 0)
        census.begin()
        due = time.monotonic() + self._look_seconds
        for since, path in self._aged(folder, start):
            if self._stopped:
                return
            choice.add(since, path)
            census.count()
            if time.monotonic() >= due:
                self._offer(folder, choice.take(self._backlog.room()))
                due = time.monotonic() + self._look_seconds
        census.end()

    def _offer(self, folder: DropFolder, found: Sequence[tuple[float, str]]) -> None:
        for since, path in found:
            if self._stopped:
                return
            self.heartbeats.rest(NAME)  # it waits for room
            self._backlog.offer(folder, path, since=since)
            self.heartbeats.beat(NAME)

    def _aged(self, folder: DropFolder, start: str | None) -> Iterator[tuple[float, str]]:
        self._clock.look()
        closed: list[str] = []
        beyond, example = 0, ""

        def told(path: str, error: OSError | None) -> None:
            nonlocal beyond, example
            if isinstance(error, PermissionError):
                closed.append(path)
            elif error and error.errno == errno.ENAMETOOLONG:
                beyond, example = beyond + 1, path
            elif error is None:
                self._watchers[folder].watch_too(path)

        for entry in folder.entries(start, told=told):
            self.heartbeats.beat(NAME)
            crashpoints.reach("in_walk")
            if (since := self._seen(folder, entry)) is not None:
                yield since, entry.path
        # What has come just now may still be on its way to those that it is for.
        if start is None:
            self._refusals.found(f"scan of {folder.root}", closed)
            self._beyond.found(folder, beyond, example)

    def _seen(self, folder: DropFolder, entry: os.DirEntry[str]) -> float | None:
        """Return since when it has been here, in monotonic seconds; None where it is to be passed by."""
        if not self._finding.begin(entry.path):
            return None
        try:
            crashpoints.reach_path("in_find", entry.path)
            if self._skip(folder, entry.path):
                return None
            # When it came here, as against what a copy keeps of its original's times.
            return self._clock.since(entry.stat(follow_symlinks=False).st_ctime)
        except OSError:
            return None
        finally:
            self._finding.end()

    def walk_all(self) -> None:
        for folder in self._watchers:
            self.walk(folder)
