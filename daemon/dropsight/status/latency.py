"""Latency percentiles per stage, over a sliding window and since the start, in a few kilobytes.

Values are counted in buckets 5 % apart, from 10 microseconds to about 10 minutes, so a percentile is
right to 2.5 %; the maximum is exact. The window is a ring of slots, each a share of the window long.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

LOWEST_MS = 0.01
GROWTH = 1.05
BUCKETS = 368
SLOTS = 10
# The bounds of all buckets but the last, which has none.
_BOUNDS = [LOWEST_MS * GROWTH**power for power in range(BUCKETS - 1)]


class Percentiles(msgspec.Struct, frozen=True):
    """Milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


class Distribution(msgspec.Struct, frozen=True):
    """All values since the start: counts of shape (BUCKETS,), and the sum in milliseconds."""

    counts: NDArray[np.int64]
    total_ms: float

    def at_most(self, milliseconds: float) -> int:
        """How many values lie within this bound, which is right to a bucket: 5 % of the bound."""
        return int(self.counts[: bucket_of(milliseconds) + 1].sum())


def bucket_of(milliseconds: float) -> int:
    return bisect_left(_BOUNDS, milliseconds)


def middle_of(bucket: int) -> float:
    """Return the geometric middle of a bucket, in milliseconds."""
    return LOWEST_MS * GROWTH ** (bucket - 0.5) if bucket else LOWEST_MS


def percentiles(counts: NDArray[np.int64], largest_ms: float) -> Percentiles:
    """Read percentiles (nearest rank) off bucket counts of shape (BUCKETS,)."""
    total = int(counts.sum())
    if total == 0:
        return Percentiles(0, 0.0, 0.0, 0.0, 0.0)
    below = np.cumsum(counts)
    found = (int(np.searchsorted(below, math.ceil(total * share))) for share in (0.50, 0.95, 0.99))
    p50, p95, p99 = (round(min(middle_of(bucket), largest_ms), 3) for bucket in found)
    return Percentiles(total, p50, p95, p99, round(largest_ms, 3))


class LatencyHistogram(msgspec.Struct):
    """Not thread-safe: one owner. The last slot counts since the start, the others ring.

    Plain lists: counting one value in an array takes three times as long.
    """

    slot_seconds: float
    _counts: list[list[int]] = msgspec.field(
        default_factory=lambda: [[0] * BUCKETS for _ in range(SLOTS + 1)]
    )
    _largest: list[float] = msgspec.field(default_factory=lambda: [0.0] * (SLOTS + 1))
    _epoch: int = 0
    total_ms: float = 0.0

    def add(self, milliseconds: Sequence[float], *, now: float) -> None:
        """Count values at monotonic time `now` in seconds."""
        if not milliseconds:
            return
        slot = self._advance(now) % SLOTS
        lately, ever = self._counts[slot], self._counts[SLOTS]
        for value in milliseconds:
            bucket = bisect_left(_BOUNDS, value)  # bucket_of, without a call for each
            lately[bucket] += 1
            ever[bucket] += 1
        self.total_ms += sum(milliseconds)
        for place in (slot, SLOTS):
            self._largest[place] = max(self._largest[place], *milliseconds)

    def window(self, *, now: float) -> Percentiles:
        self._advance(now)
        return percentiles(np.sum(self._counts[:SLOTS], axis=0), max(self._largest[:SLOTS]))

    def since_start(self) -> Percentiles:
        return percentiles(np.array(self._counts[SLOTS]), self._largest[SLOTS])

    def distribution(self) -> "Distribution":
        return Distribution(np.array(self._counts[SLOTS]), self.total_ms)

    def _advance(self, now: float) -> int:
        epoch = int(now / self.slot_seconds)
        if epoch <= self._epoch:
            return self._epoch
        for passed in range(max(self._epoch + 1, epoch - SLOTS + 1), epoch + 1):
            self._counts[passed % SLOTS] = [0] * BUCKETS
            self._largest[passed % SLOTS] = 0.0
        self._epoch = epoch
        return epoch
