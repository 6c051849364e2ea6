"""How far apart commits are: each costs a disk a rest, and a card some of its life."""

import time
from dataclasses import dataclass

GROUP_SECONDS = 0.05
COMMITS_APART = 10.0


def company_seconds(*, commit_seconds: float, more_waits: bool) -> float:
    """Return how far apart commits are to be: ten times what one takes, so that the disk rests in between.

    An SD card, which takes milliseconds and wears out, gets the longest groups; a fast disk keeps nobody
    waiting. While images wait anyway, a record loses nothing by waiting for company.
    """
    return GROUP_SECONDS if more_waits else min(COMMITS_APART * commit_seconds, GROUP_SECONDS)


@dataclass(slots=True)
class Pace:
    """What the latest commits took, in monotonic seconds."""

    _last: float = 0.0
    _commit_seconds: float = 0.0

    def committed(self, *, began: float) -> None:
        self._last = time.monotonic()
        self._commit_seconds += (self._last - began - self._commit_seconds) / 4

    def seconds_to_wait(self, *, more_waits: bool) -> float:
        """Return how long the next commit is to wait for company, 0 where the last one is long past."""
        apart = company_seconds(commit_seconds=self._commit_seconds, more_waits=more_waits)
        return max(self._last + apart - time.monotonic(), 0.0)
