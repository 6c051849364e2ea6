"""Who may be in hand together, and who only alone."""

import time
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from dropsight.intake.in_hand import ALONE, InHand
from dropsight.intake.lineup import InLine, Lineup


class Pathed(Protocol):
    """`folder` is the inbox that it lies in."""

    @property
    def path(self) -> str: ...
    @property
    def folder(self) -> Hashable: ...


class Caution(Protocol):
    """What the last starts teach."""

    @property
    def one_by_one(self) -> bool:
        """Whether images are taken one at a time, to find the one that crashes the process."""


P = TypeVar("P", bound=Pathed)
W = TypeVar("W", bound=InLine)
# So many wait in line; further ones are put off.
MOST_LARGE = 128
# One for which there is no memory though it is alone keeps all others waiting; so many times as long none of
# its inbox does.
RESTS = 10
# So many such are remembered.
MOST_LONELY = 16_384


class Turns(Generic[P]):
    """Not thread-safe: the backlog's lock guards it.

    Suspects are alone in hand, out of `caution` all are: should the process die again, it is known on whom.
    """

    def __init__(self, in_hand: InHand | None = None, caution: Caution | None = None) -> None:
        self._in_hand, self._caution = in_hand, caution
        self._held: set[P] = set()
        self._lonely: dict[int, None] = {}
        """By path, as a number: those that are to be alone in hand the next time."""
        self._sole: P | None = None
        self._sole_since = 0.0
        self._rested: dict[Hashable, float] = {}
        """When an inbox may have one of these in hand again, in monotonic seconds."""

    @property
    def closed(self) -> bool:
        """Whether nobody may be taken: one is alone in hand, or waits to be."""
        return self._sole is not None

    def is_for_one(self, path: str) -> bool:
        """Whether this image is to be alone in hand."""
        if (self._caution and self._caution.one_by_one) or self._is_lonely(path):
            return True
        in_hand = self._in_hand
        return in_hand is not None and bool(in_hand.suspects) and in_hand.suspect(path) is not None

    def suspects(self, path: str) -> bool:
        """Whether this may have ended the process."""
        return self._in_hand is not None and self._in_hand.suspect(path) is not None

    def alone_next(self, path: str, *, alone: bool) -> None:
        """Have this image be alone in hand the next time, or no longer."""
        self._lonely.pop(hash(path), None)
        if alone:
            self._lonely[hash(path)] = None
            if len(self._lonely) > MOST_LONELY:
                del self._lonely[next(iter(self._lonely))]

    def was_alone_in_vain(self, candidate: P) -> None:
        """If it is alone in hand, and so kept all others waiting: have those of its inbox let these by."""
        if candidate is self._sole:
            now = time.monotonic()
            self._rested[candidate.folder] = now + RESTS * (now - self._sole_since)

    def seconds_of_rest(self, candidate: P) -> float:
        """Return for how long one that is to be alone lets others by, as did those of its inbox before it."""
        if not self._is_lonely(candidate.path):
            return 0.0
        return max(self._rested.get(candidate.folder, 0.0) - time.monotonic(), 0.0)

    def _is_lonely(self, path: str) -> bool:
        return bool(self._lonely) and hash(path) in self._lonely

    def enter(self, candidate: P) -> bool:
        """Take in hand; tell whether it has to be alone, and so to wait until it is."""
        self._held.add(candidate)
        if not self.is_for_one(candidate.path):
            return False
        self._sole, self._sole_since = candidate, time.monotonic()
        if self._in_hand:
            self._in_hand.note(ALONE, candidate.path, "alone")
        return True

    def joins(self, candidate: P) -> bool:
        """Take in hand beside others; False for one that has to be alone."""
        if self.is_for_one(candidate.path):
            return False
        self._held.add(candidate)
        return True

    @property
    def is_alone(self) -> bool:
        return len(self._held) == 1

    def leave(self, candidate: P) -> bool:
        """It is in hand no longer; tell whether somebody may wait for this."""
        self._held.discard(candidate)
        if candidate is not self._sole:
            return self._sole is not None
        self._sole = None
        if self._in_hand:
            self._in_hand.clear(ALONE)
        return True


class OneLarge(Generic[W]):
    """Large images are decoded one at a time. Not thread-safe: the backlog's lock guards it.

    Others of them wait in a line of their own, so that no worker waits for its turn with one in hand.
    """

    def __init__(self, line: Lineup[W]) -> None:
        self._line, self._waiting = line, 0
        self._holder: W | None = None

    def takes_turn(self, candidate: W) -> bool:
        """Whether this one may be decoded now."""
        if self._holder is None:
            self._holder = candidate
        return self._holder is candidate

    def line_up(self, candidate: W) -> W | None:
        """Have it wait for its turn in line; return for whom there is no place, if that is so for anybody.

        Whoever would be taken after this one has to go: else whoever fills the line keeps all others out.
        """
        last = None
        if self._waiting >= MOST_LARGE:
            last = self._line.last(candidate)
            if last is None:
                return candidate
            self._line.remove(last)
            self._waiting -= 1
        self._line.push(candidate)
        self._waiting += 1
        return last

    def next(self) -> W | None:
        """Take whose turn it is."""
        if self._holder is not None or not self._waiting:
            return None
        self._waiting -= 1
        self._holder = self._line.pop()
        return self._holder

    @property
    def has_next(self) -> bool:
        return self._holder is None and self._waiting > 0

    def leave(self, candidate: W) -> bool:
        """It is decoded, or will not be; tell whether another has its turn now."""
        if self._holder is candidate:
            self._holder = None
        return self._holder is None and self._waiting > 0

    def __len__(self) -> int:
        return self._waiting
