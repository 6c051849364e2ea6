"""What calls a follower's thread: news, and that it is to end."""

import math
import threading
import time
from collections.abc import Callable


class Summons:
    """`wake` and `stop` are for any thread, the rest is for the follower's own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._woken = self.to_end = False
        self._deadline = math.inf

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()

    def stop(self, *, drain_seconds: float) -> None:
        """Have it end once nothing is left to do, at the latest after so long."""
        with self._changed:
            self.to_end, self._deadline = True, time.monotonic() + drain_seconds
            self._changed.notify()

    @property
    def is_late(self) -> bool:
        """Whether it is to end, whatever is left to do."""
        return time.monotonic() >= self._deadline

    def heard(self) -> None:
        """What comes from here on is news."""
        self._woken = False

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for news or the end; tell whether there is any."""
        with self._changed:
            return self._changed.wait_for(lambda: self._woken or self.to_end, seconds)

    def rest(self, seconds: float, *, unless: Callable[[], bool]) -> None:
        """Wait, news or not; `unless` is asked at the beginning and with each call, the deadline kept."""
        until = time.monotonic() + seconds
        with self._changed:
            while not unless():
                left = min(until, self._deadline) - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)
