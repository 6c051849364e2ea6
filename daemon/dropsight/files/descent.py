"""Which folder is looked into next, in memory that does not depend on how many there are."""

import os
from collections.abc import Callable

# So many names are remembered of folders that wait, and of each folder's some at least.
MOST_NAMES = 16_384
LEAST_NAMES = 512


class _Level:
    """A folder, what it was found with, and which of those in it are next: the first ones after `done`."""

    __slots__ = ("changed", "done", "is_known", "last", "names", "path", "room")

    def __init__(self, path: str, changed: float) -> None:
        self.path, self.changed = path, changed
        self.names: list[tuple[str, float]] = []
        self.done, self.room = "", 0
        self.last: str | None = None
        """What comes after it is left for another listing; None where nothing is."""
        self.is_known = False

    def add(self, name: str, changed: float) -> None:
        if name > self.done and (self.last is None or name <= self.last):
            self.names.append((name, changed))
            if len(self.names) >= 2 * self.room:
                self._shorten()

    def close(self) -> None:
        if len(self.names) > self.room:
            self._shorten()
        self.names.sort(reverse=True)

    def _shorten(self) -> None:
        self.names.sort()
        del self.names[self.room :]
        self.last = self.names[-1][0]


class Descent:
    """Goes into a folder and into all below it; whoever asks lists what `next` returns, and tells `found`.

    Some of a folder's folders are remembered, in the order of their names; for the others it is listed again.
    No recursion: folders may be nested beyond its bound. `leave` hears of each folder but the first, and of
    what it was found with, once all below it is done.
    """

    def __init__(self, leave: Callable[[str, float], None] = lambda *_: None) -> None:
        self._levels, self._held, self._leave = [_Level("", 0.0)], 0, leave
        self._listing: _Level | None = None
        self.again = False
        """Whether what is to be listed was before: all in it but folders is known."""

    def next(self) -> str | None:
        """Return what is to be listed next, by its path below the first; None when all is done."""
        if self._listing:
            self._listing.close()
            self._held += len(self._listing.names)
            self._listing = None
        while self._levels:
            level = self._levels[-1]
            if level.names:
                self._enter(level)
            elif not level.is_known or level.last is not None:
                return self._list(level)
            else:
                self._levels.pop()
                if self._levels:
                    self._leave(level.path, level.changed)
        return None

    def found(self, name: str, changed: float = 0.0) -> None:
        """In what is listed there is a folder of this name."""
        if self._listing:
            self._listing.add(name, changed)

    def _enter(self, level: _Level) -> None:
        level.done, changed = level.names.pop()
        self._held -= 1
        self._levels.append(_Level(os.path.join(level.path, level.done), changed))

    def _list(self, level: _Level) -> str:
        self.again, level.is_known, level.last = level.is_known, True, None
        level.room = max(MOST_NAMES - self._held, LEAST_NAMES)
        self._listing = level
        return level.path
