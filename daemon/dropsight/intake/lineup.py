"""Which image is next when images come faster than they can be classified."""

import heapq
import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from operator import itemgetter
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

Order: TypeAlias = Literal["oldest", "newest", "fair"]


class InLine(Protocol):
    """`since`: monotonic seconds at which the image came to be; `folder` is the inbox that it lies in."""

    since: float

    @property
    def folder(self) -> Hashable: ...
    @property
    def camera(self) -> str: ...


W = TypeVar("W", bound=InLine)
Item = TypeVar("Item")
# What those first in line may take together; of longer paths there are fewer.
MOST_BYTES = 2**23


class Lineup(Protocol[W]):
    """Not thread-safe: the backlog's lock guards it."""

    def push(self, candidate: W, *, turn: float | None = None) -> None:
        """Add; with another turn than that of its age, in monotonic seconds, where one is given."""

    def pop(self) -> W: ...
    def last(self, newcomer: W) -> W | None:
        """Return who must make room for the newcomer, None where the newcomer itself would be last."""

    def latest(self) -> W:
        """Return who is taken after all others, as far as one can tell; there must be one."""

    def remove(self, candidate: W) -> None: ...
    def __len__(self) -> int: ...


class LineupByAge(Lineup[W]):
    def __init__(self, *, newest: bool) -> None:
        self._sign = -1 if newest else 1
        self._heap: list[tuple[float, int, W]] = []
        self._ties = itertools.count()

    def push(self, candidate: W, *, turn: float | None = None) -> None:
        rank = self._sign * (candidate.since if turn is None else turn)
        heapq.heappush(self._heap, (rank, next(self._ties), candidate))

    def pop(self) -> W:
        return heapq.heappop(self._heap)[2]

    def last(self, newcomer: W) -> W | None:
        if not self._heap:
            return None
        rank, _, found = max(self._heap)
        return found if rank > self._sign * newcomer.since else None

    def latest(self) -> W:
        return max(self._heap)[2]

    def remove(self, candidate: W) -> None:
        self._heap = [entry for entry in self._heap if entry[2] is not candidate]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)


class Lines(Lineup[W]):
    """Has lines that take turns: one for each of what is `apart`."""

    def __init__(self, apart: Callable[[W], Hashable], line: Callable[[], Lineup[W]]) -> None:
        self._apart, self._line = apart, line
        self._lines: dict[Hashable, Lineup[W]] = {}  # in the order of their turns

    def push(self, candidate: W, *, turn: float | None = None) -> None:
        key = self._apart(candidate)
        if (line := self._lines.get(key)) is None:
            line = self._lines[key] = self._line()
        line.push(candidate, turn=turn)

    def pop(self) -> W:
        return self._pop(next(iter(self._lines)))

    def pop_but(self, barred: Callable[[Any], bool]) -> W | None:
        """Take the next of whose line is not `barred`."""
        key = next((key for key in self._lines if not barred(key)), None)
        return None if key is None else self._pop(key)

    def has_but(self, barred: Callable[[Any], bool]) -> bool:
        """Whether there is one to be taken so."""
        return any(not barred(key) for key in self._lines)

    def _pop(self, key: Hashable) -> W:
        line = self._lines[key]
        candidate = line.pop()
        del self._lines[key]
        if len(line):
            self._lines[key] = line
        return candidate

    def last(self, newcomer: W) -> W | None:
        """Of the longest line, if that has two more than the newcomer's."""
        if not self._lines:
            return None
        mine, longest = self._lines.get(self._apart(newcomer)), self._longest()
        if longest is mine:
            return longest.last(newcomer)
        return longest.latest() if len(longest) >= (len(mine) if mine else 0) + 2 else None

    def latest(self) -> W:
        return self._longest().latest()

    def remove(self, candidate: W) -> None:
        key = self._apart(candidate)
        self._lines[key].remove(candidate)
        if not len(self._lines[key]):
            del self._lines[key]

    def _longest(self) -> Lineup[W]:
        return max(self._lines.values(), key=len)

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))


def lineup(order: Order) -> Lines[W]:
    """Inboxes take turns, whatever the order of what lies in each: else who floods one holds up all others.

    With `fair`, cameras of an inbox do, too, each with its oldest first. Whoever may write to an inbox can
    make up any number of cameras there, and has one turn with them all.
    """

    def of_an_inbox() -> Lineup[W]:
        if order == "fair":
            return Lines(lambda each: each.camera, lambda: LineupByAge(newest=False))
        return LineupByAge(newest=order == "newest")

    return Lines(lambda each: each.folder, of_an_inbox)


class FirstInLine(Generic[Item]):
    """The first in line of however many are added, in bounded memory.

    Those of the cameras `behind` come after all others, and take turns.
    """

    def __init__(
        self,
        order: Order,
        *,
        limit: int,
        camera_of: Callable[[Item], str],
        behind: Collection[str] = (),
        bytes_of: Callable[[Item], int] = lambda _: 0,
    ) -> None:
        self._order, self._limit, self._camera_of, self._behind = order, limit, camera_of, behind
        self._bytes_of, self._bytes = bytes_of, 0
        self._chosen: list[tuple[float, Item]] = []
        self._after = (
            FirstInLine("fair", limit=limit, camera_of=camera_of, bytes_of=bytes_of) if behind else None
        )
        self.left_out = False
        """Whether any was that is not of those behind."""

    @property
    def left_behind(self) -> bool:
        """Whether any of those behind was left out, or is not taken yet."""
        return self._after is not None and (self._after.left_out or bool(self._after._chosen))  # noqa: SLF001

    def add(self, since: float, item: Item) -> None:
        if self._after and self._camera_of(item) in self._behind:
            self._after.add(since, item)
            return
        self._chosen.append((since, item))
        self._bytes += self._bytes_of(item)
        if len(self._chosen) >= 2 * self._limit or self._bytes >= 2 * MOST_BYTES:
            self._shorten()

    def take(self, most: int) -> list[tuple[float, Item]]:
        """Return so many at most, the first of all first; they leave the choice."""
        self._shorten()
        taken = self._chosen[:most]
        del self._chosen[:most]
        if self._after and len(taken) < most:
            taken += self._after.take(most - len(taken))
        return taken

    def _shorten(self) -> None:
        before = len(self._chosen)
        chosen = first(self._chosen, self._order, limit=self._limit, camera_of=self._camera_of)
        self._chosen, self._bytes = [], 0
        for since, item in chosen:
            size = self._bytes_of(item)
            if self._bytes + size > MOST_BYTES:
                break
            self._bytes += size
            self._chosen.append((since, item))
        self.left_out |= len(self._chosen) < before


def first(
    items: Iterable[tuple[float, Item]], order: Order, *, limit: int, camera_of: Callable[[Item], str]
) -> Iterator[tuple[float, Item]]:
    """Return about the first `limit` of (since, item) by the order, in that order, in bounded memory."""
    if order != "fair":
        pick = heapq.nlargest if order == "newest" else heapq.nsmallest
        yield from pick(limit, items, key=itemgetter(0))
        return
    cameras: dict[str, list[tuple[float, int, Item]]] = {}
    ties = itertools.count()
    for since, item in items:
        heap = cameras.setdefault(camera_of(item), [])
        entry = (-since, next(ties), item)  # the newest on top: first to leave
        if len(heap) < max(limit // len(cameras), 1):
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    lines = [sorted(heap, reverse=True) for heap in cameras.values()]
    for row in itertools.zip_longest(*lines):
        yield from ((-entry[0], entry[2]) for entry in row if entry is not None)
