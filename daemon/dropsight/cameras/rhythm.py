"""How long a camera is usually silent, learned from the gaps between its images.

A limit is told only once it is known, and it is three times what was usual: a camera that reports by
motion must not cry wolf. Usual is the longest gap of a day, but for the one worst day: a single outage or
holiday teaches nothing, a weekend does when it comes again.
"""

import msgspec

REMEMBERED_DAYS = 28
FACTOR = 3.0
SHORTEST_LIMIT_SECONDS = 900.0
# A camera whose longest gaps are near its mean gap is a regular one, and known after three nights.
REGULAR_GAPS, REGULAR_SECONDS = 100, 72 * 3_600.0
# Any other is known when it has been through two weekends.
KNOWN_GAPS, KNOWN_DAYS = 20, 14


class Day(msgspec.Struct):
    """Seconds; `number` counts days since the epoch."""

    number: int
    longest: float = 0.0
    total: float = 0.0
    gaps: int = 0


class Rhythm(msgspec.Struct):
    days: list[Day] = []

    def learn(self, gap_seconds: float, *, day: int) -> None:
        """Note that there was no image for so long; clocks may jump, so days may come in any order."""
        if self.days and self.days[-1].number == day:
            today: Day | None = self.days[-1]
        else:
            today = next((known for known in self.days if known.number == day), None)
        if today is None:
            today = Day(day)
            self.days = [*self.days, today][-REMEMBERED_DAYS:]
        today.longest = max(today.longest, gap_seconds)
        today.total += gap_seconds
        today.gaps += 1

    def limit_seconds(self) -> float | None:
        """Beyond which silence is unusual; None as long as that is not known."""
        if len(self.days) < 2:
            return None
        gaps = sum(day.gaps for day in self.days)
        total = sum(day.total for day in self.days)
        usual = sorted(day.longest for day in self.days)[-2]
        numbers = [day.number for day in self.days]
        regular = gaps >= REGULAR_GAPS and total >= REGULAR_SECONDS and usual <= FACTOR * total / gaps
        known = gaps >= KNOWN_GAPS and max(numbers) - min(numbers) >= KNOWN_DAYS - 1
        return max(FACTOR * usual, SHORTEST_LIMIT_SECONDS) if regular or known else None
