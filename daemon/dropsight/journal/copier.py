"""Filing by copying, on a thread of its own: the records of others go on meanwhile."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Literal

from dropsight.errors import StoreError
from dropsight.files.original import FiledAt
from dropsight.journal.filing import PlaceError
from dropsight.journal.recording import Recorded, place_of
from dropsight.threads import begins

NAME = "copier"
Placed = StoreError | FiledAt | Literal["gone"] | None
"""Why an image could not be filed away, or where it was put; None where it was put nowhere."""
Attempt = tuple[Recorded, Placed]


class Copier:
    """For the recorder's thread, which hears of each by `take`; what is in hand bounds how many there are.

    `file` files away by copying, and is called on the thread of its own.
    """

    def __init__(self, file: Callable[[Recorded], Placed], *, done: Callable[[], None]) -> None:
        self._file, self._done = file, done
        self._orders: queue.SimpleQueue[Recorded | None] = queue.SimpleQueue()
        self._copied: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.busy = 0
        """Put and not taken back yet."""
        self.stopping = False

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

    def finish(self, *, seconds: float) -> None:
        """Wait so long for what was put, then stop in the middle: what is not done has its next start."""
        until = time.monotonic() + seconds
        while self._thread and self._copied.qsize() < self.busy and time.monotonic() < until:
            time.sleep(0.01)
        self.stopping = True
        self._orders.put(None)
        if self._thread:
            self._thread.join()

    def _begin(self) -> None:
        """The first to be copied begins it, once the machine has room for one more thread."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=NAME)
            self._thread = thread if begins(thread) else None

    def _run(self) -> None:
        full: dict[object, PlaceError] = {}
        while entry := self._orders.get():
            if self.stopping:
                return
            # Copying to a full disk costs as much as to an empty one: once for all that wait.
            found = full.get(place_of(entry)) or self._file(entry)
            if isinstance(found, PlaceError):
                full[place_of(entry)] = found
            self._copied.put((entry, found))
            if self._orders.empty():
                full = {}
            self._done()
