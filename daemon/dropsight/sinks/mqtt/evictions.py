"""Another client with our client id: the broker closes our connection for it, and seldom says why."""

import time
from collections.abc import Callable

from dropsight.sinks import backoff

# So soon after a login, with nothing on the way that it may be for, so often in a row.
SOON_SECONDS = 60.0
FEW = 3
# Of several that throw each other out, each may have paused for almost so long.
LONGEST_SECONDS = 2 * backoff.LONGEST_SECONDS


class Evictions:
    """For the publisher's thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._count = 0
        self._login_at = 0.0
        self._is_by_rule = False

    def logged_in(self) -> None:
        self._login_at = self._clock()

    def not_let_in(self) -> None:
        """Who throws us out leaves the broker as it is: a broker that is away is another matter."""
        self._forget()

    def lost(self, *, was_told: bool, idle: bool) -> None:
        """Take note of a loss: whether the broker said why, else whether nothing was on the way."""
        if was_told:
            self._count = FEW
        elif self._clock() - self._login_at >= self._lasting_seconds:
            self._forget()
        elif idle:
            self._count += 1

    @property
    def suspected(self) -> bool:
        return self._count >= FEW

    def are_by_rule(self, look: Callable[[], bool]) -> bool:
        """Whether the broker has all clients of ours throw each other out; once found, that is remembered."""
        self._is_by_rule = self._is_by_rule or look()
        return self._is_by_rule

    def seconds_to_last(self) -> float:
        """How long until a connection has lasted, so that nobody is suspected any more."""
        if not self.suspected:
            return 0.0
        left = self._login_at + self._lasting_seconds - self._clock()
        if left <= 0:
            self._forget()
        return max(left, 0.0)

    @property
    def _lasting_seconds(self) -> float:
        return LONGEST_SECONDS if self._is_by_rule else SOON_SECONDS

    def _forget(self) -> None:
        self._count, self._is_by_rule = 0, False
