"""Images that are not ready yet: when to look at each again, and how many of a camera may wait so."""

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from dropsight.intake.folder import DropFolder

Line = tuple[DropFolder, str]  # a camera of a folder


class Waiting(Protocol):
    """`due` is in monotonic seconds."""

    due: float

    @property
    def line(self) -> Line: ...


W = TypeVar("W", bound=Waiting)


class Postponed(Generic[W]):
    """At most `most`, a quarter of them of one camera. Not thread-safe: the backlog's lock guards it."""

    def __init__(self, most: int) -> None:
        self._most, self.share = most, max(most // 4, 1)
        self._heap: list[tuple[float, int, W]] = []
        self._ties = itertools.count()
        self._waiting: set[int] = set()
        self._lines: Counter[Line] = Counter()

    def add(self, candidate: W, *, seconds: float) -> bool:
        """Have it wait; False where there is no place for another."""
        if len(self._waiting) >= self._most or self._lines[candidate.line] >= self.share:
            return False
        candidate.due = time.monotonic() + seconds
        self._waiting.add(id(candidate))
        self._lines[candidate.line] += 1
        heapq.heappush(self._heap, (candidate.due, next(self._ties), candidate))
        return True

    def remove(self, candidate: W) -> None:
        """It waits no longer."""
        self._waiting.remove(id(candidate))
        self._lines[candidate.line] -= 1
        if not self._lines[candidate.line]:
            del self._lines[candidate.line]

    def due(self) -> Iterator[W]:
        """Those that have waited long enough; each is to be removed."""
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, _, candidate = heapq.heappop(self._heap)
            # A sign of life may have ended its wait, or it waits anew for a later time.
            if id(candidate) in self._waiting and candidate.due == due:
                yield candidate

    @property
    def first_due(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def crowded(self) -> list[Line]:
        """The cameras that have used up their share."""
        return [line for line, count in self._lines.items() if count >= self.share]

    def __len__(self) -> int:
        return len(self._waiting)
