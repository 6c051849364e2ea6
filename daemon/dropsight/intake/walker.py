"""One walk through a watched folder: what is there and since when, offered to the backlog."""

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import msgspec

from dropsight import crashpoints
from dropsight.intake.backlog import Backlog
from dropsight.intake.clock import Clock
from dropsight.intake.closed_folders import MOST_FOLDERS, TooDeep
from dropsight.intake.folder import DropFolder
from dropsight.intake.lineup import FirstInLine
from dropsight.intake.walk_guard import WalkGuard
from dropsight.intake.watcher import Watcher
from dropsight.status.census import Census, UnprocessedImages, lying
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.ignored import Ignored, Tally, together
from dropsight.status.troubles import Troubles

NAME = "scan"
# A walk that takes longer begins with what it has found: of a million images that is seconds.
LOOK_SECONDS = 0.25
# To put in order what it has found takes a tenth of its time at the most.
PAUSES = 10


class Walker:
    """For the thread that walks; it ends once it is `stopped`.

    Watchers hear which folders it comes by, `entered` when it is in a watched one. `skip` tells what is on
    record already. `meanwhile` is called again and again in the midst of a walk.
    """

    def __init__(
        self,
        watchers: Mapping[DropFolder, Watcher],
        backlog: Backlog,
        *,
        skip: Callable[[DropFolder, str, os.stat_result], bool],
        clock: Clock,
        finding: WalkGuard,
        troubles: Troubles,
        heartbeats: Heartbeats,
        entered: Callable[[DropFolder], None],
    ) -> None:
        self.look_seconds, self.stopped = LOOK_SECONDS, False
        self._watchers, self._backlog, self._skip, self._clock = watchers, backlog, skip, clock
        self._finding, self._beyond = finding, TooDeep(troubles)
        self._heartbeats, self._entered = heartbeats, entered
        self.meanwhile: Callable[[], None] = lambda: None
        self._meanwhile_at = 0.0
        self._censuses = {folder: Census(partial(backlog.finished_in, folder)) for folder in watchers}
        self._ignored: dict[DropFolder, Ignored] = {}

    def lying(self) -> UnprocessedImages:
        """How much lies in the folders. From any thread."""
        found = lying(self._censuses.values(), waiting=self._backlog.counters().waiting)
        return msgspec.structs.replace(found, ignored=together(list(self._ignored.values())))

    def choose(
        self,
        choices: tuple[FirstInLine[str], FirstInLine[str]],
        folder: DropFolder,
        start: str | None,
        closed: list[str],
    ) -> None:
        """Look at all that is there; a long walk begins with the first in line of what it has found.

        The choices are of images and of clips.
        """
        census = self._censuses[folder] if start is None else Census(lambda: 0)
        census.begin()
        counted, due = 0, time.monotonic() + self.look_seconds
        for since, path in self._aged(folder, start, closed):
            if self.stopped:
                return
            choices[folder.names_clip(path)].add(since, path)
            counted += 1
            if time.monotonic() >= due:
                census.count(counted)
                began = time.monotonic()
                self._begin_with(choices[0], folder)
                counted, now = 0, time.monotonic()
                due = now + max(self.look_seconds, PAUSES * (now - began))
        census.count(counted)
        census.end()

    def _begin_with(self, choice: FirstInLine[str], folder: DropFolder) -> None:
        for since, path in choice.take(self._backlog.room()):
            if not self._backlog.offer(folder, path, since=since):
                choice.add(since, path)

    def _aged(self, folder: DropFolder, start: str | None, closed: list[str]) -> Iterator[tuple[float, str]]:
        self._clock.look()
        watcher = self._watchers[folder]
        beyond, example = 0, ""

        def told(path: str, found: int | OSError) -> None:
            nonlocal beyond, example
            self._get_on()  # there may be any number of folders without an image
            if isinstance(found, int):
                watcher.hear(path, found)
                if path == folder.root:
                    self._entered(folder)
            elif found.errno == errno.ENAMETOOLONG:
                beyond, example = beyond + 1, path
            else:
                watcher.missed(path, found)
                if isinstance(found, PermissionError) and len(closed) < MOST_FOLDERS:
                    closed.append(folder.links.true(path))

        tally = Tally()
        for path, entry in folder.entries(start, told=told, tally=tally):
            self._get_on()
            crashpoints.reach("in_walk")
            if (since := self._seen(folder, path, entry)) is not None:
                yield since, path
        if start is None:
            self._beyond.found(folder, beyond, example)
            self._ignored[folder] = tally.ignored()

    def _get_on(self) -> None:
        self._heartbeats.beat(NAME)
        if (now := time.monotonic()) >= self._meanwhile_at:
            self._meanwhile_at = now + LOOK_SECONDS
            self.meanwhile()

    def _seen(self, folder: DropFolder, path: str, entry: os.DirEntry[str]) -> float | None:
        """Return since when it has been here, in monotonic seconds; None where it is to be passed by."""
        guarded = self._finding.watches
        if guarded and not self._finding.begin(path):
            return None
        try:
            crashpoints.reach_path("in_find", path)
            stat = entry.stat(follow_symlinks=False)
            folder.shares.saw(stat)
            if (entry.is_symlink() and folder.leads_back(path)) or self._skip(folder, path, stat):
                return None
            # When it came here, as against what a copy keeps of its original's times.
            return self._clock.since(stat.st_ctime)
        except OSError:
            return None
        finally:
            if guarded:
                self._finding.end()
