"""Which inbox is walked in the midst of whose walk: all walks have one thread."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from dropsight.intake.folder import DropFolder
from dropsight.intake.slow_inboxes import SlowInboxes

# So many inboxes are walked at once, the next one in the midst of the one before.
MOST_WALKED = 8
# What takes no longer may come in the midst of any walk.
SHORT_SECONDS = 1.0
# One that turns out to take longer, and longer than the one around it did, comes by itself.
PATIENCE_SECONDS = 5.0
# No further one begins once somebody has waited so long for those in its midst.
CROWDED_SECONDS = 2.0


class PutOffError(Exception):
    """A walk in the midst of another takes too long for that."""


class _Walk(msgspec.Struct):
    folder: DropFolder
    began: float
    elsewhere: float = 0.0
    """Seconds of walks in the midst of it."""
    waits_since: float = math.inf
    """For those that are there now."""

    @property
    def own_seconds(self) -> float:
        return time.monotonic() - self.began - self.elsewhere


class WalkTurns:
    """For the thread that walks. A walk waits for those in its midst, so none of these may be a long one."""

    def __init__(self, slow: SlowInboxes) -> None:
        self._slow = slow
        self._walks: list[_Walk] = []
        self._took: dict[DropFolder, float] = {}
        """How long each last was."""

    def has(self, folder: DropFolder) -> bool:
        """Whether it is being walked."""
        return any(walk.folder is folder for walk in self._walks)

    @property
    def none_walked(self) -> bool:
        return not self._walks

    def may_begin(self, folder: DropFolder) -> bool:
        """Whether it is not walked, and may be at this moment."""
        if self.has(folder):
            return False
        if not self._walks:
            return True
        if time.monotonic() - min(walk.waits_since for walk in self._walks) > CROWDED_SECONDS:
            return False
        around = self._walks[-1].folder
        if self._slow.holds(folder) and not self._slow.holds(around):
            return False
        return self._took.get(folder, 0.0) <= max(self._took.get(around, 0.0), SHORT_SECONDS)

    @contextmanager
    def walking(self, folder: DropFolder) -> Iterator[None]:
        """It is walked."""
        walk = _Walk(folder, time.monotonic())
        self._walks.append(walk)
        try:
            yield
        finally:
            self._walks.remove(walk)
            self._took[folder] = walk.own_seconds

    @contextmanager
    def meanwhile(self) -> Iterator[bool]:
        """Look elsewhere; tells whether there is room for that. Raises PutOffError."""
        walk, began = self._walks[-1], time.monotonic()
        if len(self._walks) > 1:
            around = self._took.get(self._walks[-2].folder, 0.0)
            if began - walk.began > max(around, PATIENCE_SECONDS):  # with all that was walked in its midst
                raise PutOffError
        walk.waits_since = began
        try:
            yield len(self._walks) < MOST_WALKED
        finally:
            walk.waits_since = math.inf
            walk.elsewhere += time.monotonic() - began
