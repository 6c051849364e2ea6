"""Whether images make progress: what the watchdog asks, for every stage of their way."""

from collections.abc import Sequence

import msgspec

from dropsight.classify.workers import Workers
from dropsight.intake.backlog import Backlog
from dropsight.intake.source import Source
from dropsight.journal.recorder import Recorder
from dropsight.status.heartbeats import Heartbeats

# On a small machine, the largest picture that is allowed takes about as long.
SLOW_SECONDS = 15.0


class Progress(msgspec.Struct, frozen=True):
    backlog: Backlog
    sources: Sequence[Source]
    workers: Workers
    recorder: Recorder

    def slow(self) -> str | None:
        """Name who has been at one image, or one step, for long; it may still make progress."""
        others = (heartbeats.overdue(SLOW_SECONDS) for heartbeats in self._of_others())
        return self.workers.overdue(SLOW_SECONDS) or next(filter(None, others), None)

    def hung(self, seconds: float) -> str | None:
        """Name what has made no progress for so long. Idle is not hung, nor is waiting for a full disk."""
        for heartbeats in self._of_others():
            if name := heartbeats.overdue(seconds):
                return name
        if self.recorder.held_up:
            return None
        if name := self.workers.overdue(seconds):
            return name
        unserved = not self.workers.heartbeats.any() and self.backlog.unserved_seconds() > seconds
        return "the queue" if unserved else None

    def _of_others(self) -> Sequence[Heartbeats]:
        return [*(source.heartbeats for source in self.sources), self.recorder.heartbeats]
