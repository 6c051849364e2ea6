"""How far apart commits are: each occupies the disk, and wears out an SD card."""

import math
import time

import msgspec

GROUP_SECONDS = 0.05
CATCH_UP_SECONDS = 0.25
COMMITS_APART = 10.0
# A group; while this many wait, the next one fills up in any case.
GROUP_RECORDS = 64


def company_seconds(*, commit_seconds: float, waiting: int) -> float:
    """Return how far apart commits are to be: ten times what one takes, so that the disk rests in between.

    An SD card, which takes milliseconds and wears out, gets the longest groups; a fast disk keeps nobody
    waiting. While images are `waiting` anyway, a record loses nothing by waiting for company.
    """
    if waiting >= GROUP_RECORDS:
        return CATCH_UP_SECONDS
    return GROUP_SECONDS if waiting else min(COMMITS_APART * commit_seconds, GROUP_SECONDS)


class Pace(msgspec.Struct):
    """What the latest commits took, in monotonic seconds."""

    _last: float = -math.inf
    _commit_seconds: float = 0.0

    def committed(self, *, began: float) -> None:
        self._last = time.monotonic()
        self._commit_seconds += (self._last - began - self._commit_seconds) / 4

    def seconds_to_wait(self, *, waiting: int) -> float:
        """Return how long the next commit is to wait for company, 0 where the last one is long past."""
        apart = company_seconds(commit_seconds=self._commit_seconds, waiting=waiting)
        return max(self._last + apart - time.monotonic(), 0.0)
