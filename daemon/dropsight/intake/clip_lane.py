"""Clips wait in a lane of their own, so that they delay no image."""

import threading
import time

from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.intake.lineup import Lines
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.intake.turns import Turns

MOST_CLIPS = 256
# A clip that may have ended the daemon waits, for so long of a life, for a moment at which no image does.
SUSPECT_SECONDS = 60.0


class ClipLane:
    """Not thread-safe: the backlog's lock guards it, and `work` is a condition of that lock."""

    def __init__(
        self,
        line: Lines[Candidate],
        turns: Turns[Candidate],
        slow: SlowInboxes,
        work: threading.Condition,
    ) -> None:
        self.line, self.work = line, work
        self._turns, self._slow, self._began = turns, slow, time.monotonic()
        self.hanging = set[Candidate]()
        """Those in hand whose disk does not answer: no other of that disk is taken meanwhile."""

    @property
    def room(self) -> int:
        return MOST_CLIPS - len(self.line)

    @property
    def is_spacious(self) -> bool:
        """Whether there is room for so many that it is worth a walk."""
        return len(self.line) <= MOST_CLIPS // 4

    def push(self, candidate: Candidate, *, turn: float | None) -> None:
        self.line.push(candidate, turn=turn)
        self.work.notify()

    def pop(self, *, images_wait: bool) -> Candidate | None:
        """Take the next whose disk answers; None for a suspect that had better not run beside images."""
        candidate = self.line.pop_but(self._hangs)
        if candidate is None:
            return None
        # Not since it came into the line: it comes again after each rest.
        waits = images_wait and time.monotonic() - self._began < SUSPECT_SECONDS
        if waits and self._turns.suspects(candidate.path):
            self.line.push(candidate)
            return None
        candidate.place = "in_hand"
        return candidate

    def _hangs(self, folder: DropFolder) -> bool:
        return any(self._slow.share_a_disk(folder, each.folder) for each in self.hanging)

    def __len__(self) -> int:
        return len(self.line)
