"""How old a file is, though the wall clock may have jumped since: a Pi has no clock of its own.

File systems stamp by the wall clock. Each jump of it ends an epoch; within one, stamps and the monotonic
clock tell the same.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

JUMP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Epoch:
    """From and to in wall seconds; `offset` is wall less monotonic."""

    begin: float
    end: float
    offset: float


@dataclass(slots=True)
class Clock:
    """Thread-safe. `look` must be called now and then, so that a jump is noticed while it matters."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _epochs: list[_Epoch] = field(default_factory=list)
    _begin: float = field(init=False)
    _offset: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._begin = self.wall()
        self._offset = self._begin - self.monotonic()

    def look(self) -> None:
        with self._lock:
            offset = self.wall() - self.monotonic()
            if abs(offset - self._offset) > JUMP_SECONDS:
                self._epochs.insert(0, _Epoch(self._begin, self.monotonic() + self._offset, self._offset))
                self._begin = self.wall()
            self._offset = offset

    def since(self, stamp: float) -> float:
        """Return when, in monotonic seconds, a file with this stamp was written; never later than now.

        What is older than this process is taken to be as old as the clock said at its start.
        """
        now = self.monotonic()
        if not self._begin - JUMP_SECONDS <= stamp <= now + self._offset:
            for epoch in self._epochs:
                if epoch.begin - JUMP_SECONDS <= stamp <= epoch.end + JUMP_SECONDS:
                    return min(stamp - epoch.offset, now)
            first = self._epochs[-1].offset if self._epochs else self._offset
            return min(stamp - first, now)
        return stamp - self._offset

    def age_seconds(self, stamp: float) -> float:
        return self.monotonic() - self.since(stamp)
