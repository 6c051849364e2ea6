"""The folders are the truth: walks that find what no event told of."""

import errno
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from dropsight import crashpoints
from dropsight.errors import ConfigError, MachineError, StoreError, reason
from dropsight.intake.backlog import Backlog
from dropsight.intake.clock import Clock
from dropsight.intake.closed_folders import Refusals
from dropsight.intake.finds import Finds
from dropsight.intake.folder import DropFolder
from dropsight.intake.source import SourceStatus
from dropsight.intake.walk_guard import WalkGuard
from dropsight.intake.walk_turns import PutOffError, WalkTurns
from dropsight.intake.walker import NAME, Walker
from dropsight.intake.watcher import Watcher
from dropsight.names import as_text
from dropsight.status.census import UnprocessedImages
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 60.0
# Folders that wait to be walked one by one; where more come, all is walked.
MOST_ARRIVED = 1_024
# What gave way in the backlog is looked for again soon, and for a tenth of the time at the most.
GAVE_WAY_SECONDS, PAUSES = 5.0, 10
CROWD, WATCH, INBOX = "crowd", "watch", "inbox"
SHOWN = 3


class Scanner:
    """Walks the watched folders: at the start, when something may have been missed, every minute.

    The source of what is dropped. What it finds waits for room in the backlog. `skip` tells what is on record
    already, for folders whose files are kept; `claim` raises StoreError or ConfigError where the folder is
    somebody else's to watch.
    """

    def __init__(
        self,
        folders: Sequence[DropFolder],
        backlog: Backlog,
        *,
        skip: Callable[[DropFolder, str, os.stat_result], bool],
        refusals: Refusals,
        troubles: Troubles,
        clock: Clock,
        finding: WalkGuard,
        claim: Callable[[DropFolder], None] = lambda _: None,
    ) -> None:
        self._backlog, self._refusals, self._claim = backlog, refusals, claim
        self._finds = Finds(backlog)
        self._troubles, self._walk_seconds = troubles, dict.fromkeys(folders, 0.0)
        self.heartbeats = Heartbeats()
        self._watchers = {folder: Watcher(folder, backlog, self, self.heartbeats) for folder in folders}
        self.walker = Walker(
            self._watchers,
            backlog,
            skip=skip,
            clock=clock,
            finding=finding,
            troubles=troubles,
            heartbeats=self.heartbeats,
            entered=self._is_tried,
        )
        self._turns = WalkTurns(backlog.slow)
        self._next_walk = dict.fromkeys(folders, 0.0)
        self._next_try = dict.fromkeys(folders, math.inf)
        self._away: dict[DropFolder, str] = {}
        self._arrived: deque[tuple[DropFolder, str]] = deque()
        self._left: set[DropFolder] = set()
        """Folders with files that were left where they are, behind those of other cameras."""
        self._due = backlog.overflow.due
        self._everything = threading.Event()
        self._stopped = False
        self._unwatched = set(folders)
        self.watching = threading.Event()
        """Whether the kernel's word of every inbox has been asked for."""

    def rescan(self) -> None:
        """Walk everything soon. From any thread."""
        self._everything.set()
        self._due.set()

    def look_into(self, folder: DropFolder, path: str) -> None:
        """Walk this folder soon: it came with things in it. From any thread."""
        if len(self._arrived) < MOST_ARRIVED:
            self._arrived.append((folder, path))
            self._due.set()
        else:  # one walk finds all of them
            self._backlog.overflow.call(folder)

    @property
    def name(self) -> str:
        return NAME

    def start(self, supervision: Supervision) -> threading.Thread:
        return supervision.start(self.name, self.run)

    def stop(self) -> None:
        self._stopped = self.walker.stopped = True
        self._due.set()

    def status(self) -> SourceStatus | None:
        return None

    def run(self) -> None:
        """Walk whenever there is reason to, until stopped."""
        self.walker.meanwhile = self._look_meanwhile
        while not self._stopped:
            self.heartbeats.beat(NAME)
            crashpoints.reach("in_scanning")
            self._look_everywhere()
            self._tell_of_unheard()
            self._look_sooner()
            waits = self._finds.hand_over()
            self.heartbeats.rest(NAME)
            if waits:
                self._backlog.wait_for_room()
            elif not (self._arrived or self._finds.any_later):
                due = min((*self._next_walk.values(), *self._next_try.values()))
                self._due.wait(max(due - time.monotonic(), 0.0))
            self._due.clear()
        for watcher in self._watchers.values():
            watcher.stop()

    def _look_everywhere(self) -> None:
        """Look where there is reason to, but for inboxes that are busy."""
        for _ in range(len(self._arrived)):
            if not self._arrived:  # the last of them were looked into in the midst of a walk
                break
            folder, path = self._arrived.popleft()
            if self._is_busy(folder):
                self._arrived.append((folder, path))
            elif not self._stopped:
                self._find(folder, path)
                self._finds.hand_over()
        everything = self._everything.is_set()
        self._everything.clear()
        for folder in self._backlog.overflow.called():
            if not self._finds.has_later(folder):  # else once these are used up
                self._next_walk[folder] = 0.0
        self._next_walk |= dict.fromkeys(self._watchers if everything else (), 0.0)
        for folder, watcher in self._watchers.items():
            if self._stopped:
                break
            if not self._is_busy(folder):
                self._look(folder, watcher)
                self._bring(folder)
                self._finds.hand_over()

    def _look_meanwhile(self) -> None:
        """In the midst of a walk, which may be long: look elsewhere."""
        with self._turns.meanwhile() as has_room:
            if has_room and not self._stopped:
                self._look_everywhere()

    def _is_busy(self, folder: DropFolder) -> bool:
        """Whether it has to wait for another walk, or some of it for room: else what waits had no bound."""
        return not self._turns.may_begin(folder) or self._finds.wait_of(folder)

    def _look(self, folder: DropFolder, watcher: Watcher) -> None:
        """Walk all of it, or into what nothing is heard of, where it is time to."""
        began = time.monotonic()
        if began >= self._next_walk[folder]:
            self._next_walk[folder] = began + RECONCILE_SECONDS
            watcher.renew()
            self._refusals.look_again()
            self._refusals.found(f"scan of {folder.root}", self._find(folder))
            self._is_tried(folder)
            pause = folder.settings.poll_seconds if watcher.polling else RECONCILE_SECONDS
            self._walk_seconds[folder] = time.monotonic() - began
            if self._finds.has_later(folder):
                self._next_walk[folder] = time.monotonic() + max(pause, PAUSES * self._walk_seconds[folder])
            elif self._next_walk[folder]:  # else another has been called for meanwhile
                self._next_walk[folder] = time.monotonic() + pause
        elif began >= self._next_try[folder]:
            # What is closed by now was not just on its way to those that it is for.
            self._refusals.found(f"scan of {folder.root}", self._find_unheard(folder, watcher))
        elif self._next_try[folder] < math.inf:
            return
        pause = max(folder.settings.poll_seconds, PAUSES * (time.monotonic() - began))
        tries = watcher.unheard() and not watcher.polling
        self._next_try[folder] = time.monotonic() + pause if tries else math.inf

    def _bring(self, folder: DropFolder) -> None:
        """Have what the last walk has found beyond a chunk wait for room, and then have another one."""
        if self._finds.bring(folder) and not self._finds.has_later(folder):
            self._backlog.overflow.call(folder)

    def _find_unheard(self, folder: DropFolder, watcher: Watcher) -> list[str]:
        """Return the folders that are closed to us. Once some wait for room, the others do for a walk."""
        closed: list[str] = []
        for top in watcher.unheard():
            closed += self._find(folder, top)
            self._finds.hand_over()
            if self._finds.wait_of(folder) or self._stopped:
                break
        return closed

    def _tell_of_unheard(self) -> None:
        faults = [fault for watcher in self._watchers.values() if (fault := watcher.fault())]
        for part, texts in ((WATCH, faults), (INBOX, list(self._away.values()))):
            if texts:
                self._troubles.raised(part, MachineError("; ".join(texts)))
            else:
                self._troubles.cleared(part)

    def _is_tried(self, folder: DropFolder) -> None:
        """It is watched by now, or cannot be."""
        self._unwatched.discard(folder)
        if not self._unwatched:
            self.watching.set()

    def _look_sooner(self) -> None:
        """Where files gave way in the backlog, which is told of."""
        left, self._left = self._left, set()
        for folder in left.union(self._backlog.overflow.take()):
            pause = max(GAVE_WAY_SECONDS, PAUSES * self._walk_seconds[folder])
            self._next_walk[folder] = min(self._next_walk[folder], time.monotonic() + pause)
        if told := self._backlog.crowded():
            more = f" (and {len(told) - SHOWN} more cameras)" if told[SHOWN:] else ""
            text = f"{'; '.join(told[:SHOWN])}{more}: further ones of the same camera have to wait"
            self._troubles.raised(CROWD, StoreError(text))
        else:
            self._troubles.cleared(CROWD)

    def walk(self, folder: DropFolder, start: str | None = None) -> list[str]:
        """Find the images at or below `start`, and wait until the backlog has room for them."""
        closed = self._find(folder, start)
        self._wait_for_room()
        return closed

    def _wait_for_room(self) -> None:
        while (self._finds.hand_over() or self._finds.bring_all()) and not self._stopped:
            self.heartbeats.rest(NAME)
            self._backlog.wait_for_room()

    def _find(self, folder: DropFolder, start: str | None = None) -> list[str]:
        """Find the images at or below `start` for the backlog, the first in line first.

        Memory is bounded however many there are: what is not among the first is for another walk, soon.
        Cameras of which some had no place come last, so that any number that is never ready hides nobody's.
        Clips, which wait in a lane of their own, are chosen for themselves.
        Return the folders that are closed to us.
        """
        squeezed = self._backlog.overflow.take_cameras(folder) if start is None else set[str]()
        found = self._finds.choice(folder, behind=squeezed, whole=start is None and self._turns.none_walked)
        closed: list[str] = []
        try:
            with self._turns.walking(folder):
                self._claim(folder)  # another disk may be there by now
                self.walker.choose((found.images, found.clips), folder, start, closed)
        except PutOffError:
            self._next_walk[folder] = 0.0
        except (StoreError, ConfigError) as error:
            self._watchers[folder].missed(folder.root, OSError(errno.EBUSY, str(error)))
            self._away[folder] = str(error)
        except OSError as error:
            self._watchers[folder].missed(folder.root, error)
            self._away[folder] = f"{as_text(folder.root)} is not readable, waiting for it: {reason(error)}"
        except Exception:  # what one folder or file does to a walk must not end the others'
            log.exception(
                "%s: internal error in this scan; the next one is in a minute", as_text(folder.root)
            )
        else:
            self._away.pop(folder, None)
            if self._finds.take(found):
                self._left.add(folder)
        return closed

    def lying(self) -> UnprocessedImages:
        """How much lies in the folders. From any thread."""
        return self.walker.lying()

    def walk_all(self) -> None:
        for folder in self._watchers:
            self._refusals.found(f"scan of {folder.root}", self._find(folder))
        self._wait_for_room()
        self._tell_of_unheard()
        self.heartbeats.rest(NAME)
