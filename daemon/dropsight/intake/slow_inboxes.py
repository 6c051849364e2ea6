"""Inboxes on disks that take long to answer, as shares may: what touches them keeps nobody else waiting."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, Protocol, TypeVar

# For one image's opening and reading.
SLOW_SECONDS = 1.0
# So long after it was slow, it counts as slow, however quick it was in between.
REMEMBERED_SECONDS = 600.0
# Once so many wait for their disk, no more of an inbox are taken.
MOST_UNSYNCED = 128


class Rooted(Protocol):
    """An inbox."""

    @property
    def root(self) -> str: ...


class InInbox(Protocol):
    """An image of an inbox."""

    @property
    def folder(self) -> Rooted: ...


P = TypeVar("P", bound=InInbox)


class SlowInboxes:
    """Thread-safe. An inbox on the disk of `state` is never slow: all else waits for that disk, too."""

    def __init__(self, state: Path | None = None) -> None:
        self._device = None if state is None else os.stat(state).st_dev
        self._disks: dict[Rooted, int] = {}
        """Of inboxes on other disks: what one has to wait for, all on the same disk have."""
        self._until: dict[object, float] = {}
        self._at_work: dict[object, tuple[object, float]] = {}

    def open(self, folders: Iterable[Rooted]) -> None:
        """Look on which disks these are, while they answer."""
        for folder in folders:
            with suppress(OSError):
                device = os.stat(folder.root).st_dev
                if device != self._device:
                    self._disks[folder] = device

    def holds(self, folder: Rooted) -> bool:
        """Whether it was slow lately, or is at this moment."""
        now, disk = time.monotonic(), self._disk_of(folder)
        return self._until.get(disk, 0.0) > now or any(
            each == disk and now - began > SLOW_SECONDS for each, began in list(self._at_work.values())
        )

    @contextmanager
    def at_work(self, folder: Rooted) -> Iterator[None]:
        """Somebody touches a file of it, or two."""
        mine, began = object(), time.monotonic()
        self._at_work[mine] = self._disk_of(folder), began
        try:
            yield
        finally:
            del self._at_work[mine]
            self.took(folder, time.monotonic() - began)

    def took(self, folder: Rooted, seconds: float) -> None:
        """Take note of how long that was."""
        if seconds >= SLOW_SECONDS and self._is_apart(folder):
            self._until[self._disk_of(folder)] = time.monotonic() + REMEMBERED_SECONDS

    def share_a_disk(self, one: Rooted, other: Rooted) -> bool:
        return self._disk_of(one) == self._disk_of(other)

    def is_own(self, device: int) -> bool:
        """Whether this is the disk of `state`."""
        return self._device in {None, device}

    def _disk_of(self, folder: Rooted) -> object:
        return self._disks.get(folder, folder)

    def _is_apart(self, folder: Rooted) -> bool:
        try:
            return os.stat(folder.root).st_dev != self._device
        except OSError:
            return True


class SlowTurns(Generic[P]):
    """One worker, of several, is left to inboxes that are not slow. The backlog's lock guards it."""

    def __init__(self, slow: SlowInboxes) -> None:
        self._slow, self._held = slow, dict[P, tuple[float, bool]]()
        """When each that is in hand was taken, and whether its inbox was slow then."""
        self._unsynced = Counter[Rooted]()
        """How many of an inbox have left their workers and wait for its disk."""
        self._rests_until = 0.0
        self.most = 2**16
        """So many of them may be in hand at once."""

    def bars(self, folder: Rooted) -> bool:
        """Whether none of this inbox may be taken now."""
        if self._unsynced and self._unsynced[folder] >= MOST_UNSYNCED:
            return True
        holds = self._slow.holds
        return holds(folder) and sum(holds(each.folder) for each in self._held) >= self.most

    def puts_off(self, folder: Rooted) -> bool:
        """Whether those of others come first: a lone worker gives these half of its time at the most."""
        return self.bars(folder) or (time.monotonic() < self._rests_until and self._slow.holds(folder))

    def waits(self, folder: Rooted, count: int) -> bool:
        """So many more of it wait for its disk, or fewer; tell whether others of it may be taken again."""
        were = self._unsynced[folder]
        self._unsynced[folder] += count
        return were >= MOST_UNSYNCED > self._unsynced[folder]

    def enter(self, candidate: P) -> None:
        """It is taken."""
        self._held[candidate] = time.monotonic(), self._slow.holds(candidate.folder)

    def leave(self, candidate: P) -> bool:
        """No worker has it any more; tell whether others may be taken instead."""
        began, was_slow = self._held.pop(candidate, (0.0, False))
        if not (was_slow or (began and self._slow.holds(candidate.folder))):
            return False
        self._rests_until = 2 * time.monotonic() - began
        return True
