"""Whether images make progress: what the watchdog asks, for every stage of their way."""

from collections.abc import Sequence

import msgspec

from dropsight.classify.workers import Workers
from dropsight.intake.backlog import Backlog
from dropsight.intake.source import Source
from dropsight.journal.recorder import Recorder

# On a small machine, the largest picture that is allowed takes about as long.
SLOW_SECONDS = 15.0


class Progress(msgspec.Struct, frozen=True):
    backlog: Backlog
    sources: Sequence[Source]
    workers: Workers
    recorder: Recorder

    def slow(self) -> str | None:
        """Name who has been at one image, or one step, for long; it may still make progress."""
        names = [*self.workers.overdue(SLOW_SECONDS), *self._others_overdue(SLOW_SECONDS)]
        for apart in (self.workers.heartbeats_apart, self.recorder.heartbeats_apart):
            names += apart.overdue(SLOW_SECONDS)
        return next(iter(names), None)

    def overdue(self, seconds: float) -> list[str]:
        """Name what has made no progress for so long. Idle is not overdue, nor is waiting for a full disk."""
        names = self._others_overdue(seconds)
        if self.recorder.held_up:
            return names
        unserved = not self.workers.heartbeats.any() and self.backlog.unserved_seconds() > seconds
        return [*names, *self.workers.overdue(seconds), *(["the queue"] if unserved else [])]

    def waits_for_disks(self, seconds: float) -> list[str]:
        """Name who has waited for a disk, or a share, for so long, while nobody else has anything to do."""
        if self.workers.at_work or self.recorder.heartbeats.any():
            return []
        waiting = [source.heartbeats for source in self.sources]
        waiting += [self.workers.heartbeats_apart, self.recorder.heartbeats_apart]
        return [name for heartbeats in waiting for name in heartbeats.overdue(seconds)]

    def _others_overdue(self, seconds: float) -> list[str]:
        others = [*(source.heartbeats for source in self.sources), self.recorder.heartbeats]
        return [name for heartbeats in others for name in heartbeats.overdue(seconds)]
