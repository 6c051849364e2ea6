"""Filing by copying, on a thread of its own: the records of others go on meanwhile."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Literal

from dropsight.errors import StoreError
from dropsight.files.original import FiledAt
from dropsight.intake.folder import DropFolder
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.journal.filing import PlaceError
from dropsight.journal.recording import Recorded, place_of
from dropsight.names import as_text
from dropsight.status.heartbeats import Heartbeats
from dropsight.threads import begins

NAME = "copier"
Placed = StoreError | FiledAt | Literal["gone"] | None
"""Why an image could not be filed away, or where it was put; None where it was put nowhere."""
Attempt = tuple[Recorded, Placed]


class Copiers:
    """For the recorder's thread: one copier for all inboxes, and one for each on a slow disk."""

    def __init__(
        self,
        slow: SlowInboxes,
        file: Callable[[Recorded], Placed],
        *,
        done: Callable[[], None],
        heartbeats: Heartbeats,
    ) -> None:
        self._slow, self._file, self._done, self._heartbeats = slow, file, done, heartbeats
        self._copiers: dict[DropFolder | None, Copier] = {}
        self.stopping = False

    @property
    def busy(self) -> int:
        """How many were put and not taken back yet."""
        return sum(copier.busy for copier in self._copiers.values())

    def put(self, entry: Recorded) -> None:
        """Have it filed on a thread of its own."""
        folder = entry.finished.candidate.folder
        key = folder if self._slow.holds(folder) else None
        if key not in self._copiers:
            name = f"{NAME} of {as_text(folder.root)}" if key else NAME
            self._copiers[key] = Copier(name, self._file, done=self._done, heartbeats=self._heartbeats)
        self._copiers[key].put(entry)

    def take(self) -> list[Attempt]:
        """Return what was tried since."""
        return [attempt for copier in self._copiers.values() for attempt in copier.take()]

    def finish(self, *, seconds: float) -> None:
        """Wait so long for what was put, then stop in the middle: what is not done has its next start."""
        until = time.monotonic() + seconds
        for copier in self._copiers.values():
            copier.wait(until=until)
        self.stopping = True
        for copier in self._copiers.values():
            copier.finish()


class Copier:
    """For the recorder's thread, which hears of each by `take`; what is set aside bounds how many there are.

    `file` files away by copying, and is called on the thread of its own.
    """

    def __init__(
        self,
        name: str,
        file: Callable[[Recorded], Placed],
        *,
        done: Callable[[], None],
        heartbeats: Heartbeats,
    ) -> None:
        self._name, self._file, self._done, self._heartbeats = name, file, done, heartbeats
        self._orders: queue.SimpleQueue[Recorded | None] = queue.SimpleQueue()
        self._copied: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.busy = 0
        """Put and not taken back yet."""
        self._stopping = False

    def put(self, entry: Recorded) -> None:
        self.busy += 1
        self._orders.put(entry)
        self._begin()

    def take(self) -> list[Attempt]:
        """Return what was tried since."""
        if self.busy:
            self._begin()
        taken = [self._copied.get() for _ in range(self._copied.qsize())]
        self.busy -= len(taken)
        return taken

    def wait(self, *, until: float) -> None:
        while self._thread and self._copied.qsize() < self.busy and time.monotonic() < until:
            time.sleep(0.01)

    def finish(self) -> None:
        self._stopping = True
        self._orders.put(None)
        if self._thread:
            self._thread.join()

    def _begin(self) -> None:
        """The first to be copied begins it, once the machine has room for one more thread."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name)
            self._thread = thread if begins(thread) else None

    def _run(self) -> None:
        full: dict[object, PlaceError] = {}
        while entry := self._orders.get():
            if self._stopping:
                return
            # Copying to a full disk costs as much as to an empty one: once for all that wait.
            with self._heartbeats.at_work(self._name):
                found = full.get(place_of(entry)) or self._file(entry)
            if isinstance(found, PlaceError):
                full[place_of(entry)] = found
            self._copied.put((entry, found))
            if self._orders.empty():
                full = {}
            self._done()
