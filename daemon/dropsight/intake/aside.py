"""Images that are set aside: they are on record, but cannot be filed away for now."""

from collections import Counter

from dropsight.intake.postponed import Line

# Of a camera.
MOST_ASIDE = 1_024


class Aside:
    """How many there are. Not thread-safe: the backlog's lock guards it."""

    def __init__(self) -> None:
        self._lines: Counter[Line] = Counter()
        self._all = 0

    def add(self, line: Line) -> None:
        self._lines[line] += 1
        self._all += 1

    def remove(self, line: Line) -> None:
        self._all -= 1
        self._lines[line] -= 1
        if not self._lines[line]:
            del self._lines[line]

    def of(self, line: Line) -> int:
        return self._lines[line]

    def crowded(self) -> list[Line]:
        """The cameras that have as many as may be."""
        return [line for line, count in self._lines.items() if count >= MOST_ASIDE]

    def __len__(self) -> int:
        return self._all
