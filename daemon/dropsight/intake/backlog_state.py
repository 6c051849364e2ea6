"""What the backlog knows: every image and clip that is not finished, where each is, and the figures of it."""

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable

from dropsight.intake.aside import MOST_ASIDE, Aside
from dropsight.intake.candidate import Candidate
from dropsight.intake.clip_lane import ClipLane
from dropsight.intake.folder import DropFolder
from dropsight.intake.lineup import Lines, Order, lineup
from dropsight.intake.overflow import Overflow
from dropsight.intake.postponed import Postponed
from dropsight.intake.slow_inboxes import SlowInboxes, SlowTurns
from dropsight.intake.turns import OneLarge, Turns
from dropsight.records import Status
from dropsight.status.stats import Counters

CAPACITY = 512


class BacklogState:
    """Its figures are thread-safe; all else is for `Backlog`, which moves images from place to place."""

    def __init__(
        self,
        capacity: int = CAPACITY,
        order: Order = "oldest",
        exists: Callable[[str], bool] = os.path.lexists,
        turns: Turns[Candidate] | None = None,
        slow: SlowInboxes | None = None,
    ) -> None:
        self.capacity, self.order, self.exists = capacity, order, exists
        self.turns: Turns[Candidate] = Turns() if turns is None else turns
        self.overflow = Overflow()
        self._known: dict[str, Candidate] = {}
        self._postponed: Postponed[Candidate] = Postponed(capacity)
        self.slow = SlowInboxes() if slow is None else slow
        self._slow_turns: SlowTurns[Candidate] = SlowTurns(self.slow)
        self._queue: Lines[Candidate] = lineup(order)
        self._large: OneLarge[Candidate] = OneLarge(lineup(order))
        self._lock = threading.RLock()
        self._work, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._clips = ClipLane(lineup(order), self.turns, self.slow, threading.Condition(self._lock))
        self._aside = Aside()
        self.have_waited = set[DropFolder]()
        """Inboxes of which an image had to wait to be filed: the next may, and be written over."""
        self._seen = 0
        self._finished, self._finished_in = Counter[Status](), Counter[DropFolder]()
        self._stopped = self._paused = self._wants_room = False
        self._served_at = 0.0
        self._idle = 0
        """How many wait for work."""

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def stopped(self) -> bool:
        return self._stopped

    def clips_waiting(self) -> int:
        """How many clips are queued, put off or in hand."""
        with self._lock:
            return sum(known.is_clip and known.place != "aside" for known in self._known.values())

    def lacks(self) -> bool:
        """Whether one waits for what the machine lacked when it was tried last."""
        with self._lock:
            return any(known.lacks for known in self._known.values())

    def unserved_seconds(self) -> float:
        """For how long nobody has come to take what is there to be taken."""
        with self._lock:
            since = self._served_at if self._has_next else self._postponed.first_due
            if since is None or self._paused or self._stopped:
                return 0.0
            return max(time.monotonic() - max(since, self._served_at), 0.0)

    def depth(self) -> int:
        with self._lock:
            return len(self._queue)

    def waiting_since(self) -> float:
        """When the first image came of those that are to be classified, in monotonic seconds; else inf."""
        with self._lock:
            waiting = (each for each in self._known.values() if each.place in {"queued", "in_hand"})
            images = (each for each in waiting if each.counted and not each.is_clip)
            return min((each.since for each in images), default=math.inf)

    def to_come(self) -> int:
        """How many will soon be in hand beside those that are: none, where one has to be alone."""
        with self._lock:
            return 0 if self.turns.closed else len(self._queue)

    def room(self) -> int:
        """For how many more there is room at this moment."""
        with self._lock:
            return max(self.capacity - self._held(), 0)

    def aside_of(self, folder: DropFolder, camera: str) -> int:
        """How many of a camera are set aside."""
        return self._aside.of((folder, camera))

    def crowded(self) -> list[str]:
        """Tell of the cameras that have used up their share of places."""
        share = self._postponed.share
        with self._lock:
            cameras = sorted(camera for _, camera in self._postponed.crowded())
            full = sorted(camera for _, camera in self._aside.crowded())
        why = "are held open by their writers, still change, are large, or wait for a sidecar"
        told = [f"{camera}: {share} files {why}" for camera in cameras]
        return told + [f"{camera}: {MOST_ASIDE} images on record wait to be filed away" for camera in full]

    def finished_in(self, folder: DropFolder) -> int:
        return self._finished_in[folder]

    def counters(self) -> Counters:
        with self._lock:
            waiting, queued = len(self._known), self._queued()
            postponed = len(self._postponed)
            return Counters(
                seen=self._seen,
                done=self._finished["ok"],
                failed=self._finished["failed"],
                waiting=waiting,
                expired=self._finished["expired"],
                queued=queued,
                postponed=postponed,
                in_hand=waiting - queued - postponed - len(self._aside),
            )

    def at_rest(self, *, settle_seconds: float) -> bool:
        """Whether nothing is left but files that a writer has held open, unchanged, for the settle time."""
        now = time.monotonic()
        with self._lock:
            return not self.overflow.is_worth_a_walk() and all(
                known.place == "postponed"
                and known.held_by_writer
                and now - known.still_since > settle_seconds
                for known in self._known.values()
            )

    @property
    def _has_next(self) -> bool:
        return self._queue.has_but(self._slow_turns.bars) or self._large.has_next

    def _queued(self) -> int:
        return len(self._queue) + len(self._large) + len(self._clips)

    def _held(self) -> int:
        return len(self._known) - len(self._aside) - len(self._postponed) - len(self._clips)
