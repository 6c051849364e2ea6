"""Finished images on their way to the recorder, which takes them by the group."""

import contextlib
import queue
import threading
import time

from dropsight.journal.pacing import GROUP_RECORDS
from dropsight.journal.recording import Outcome

PUT_SECONDS = 0.5


class Inbound:
    """Holds two groups; `get` and `company` belong to the recorder's thread, everything else to any."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._room = threading.Event()
        self._hurry = threading.Event()
        self._put_until = float("inf")

    def put(self, outcome: Outcome) -> None:
        """Hand over; waits for room, but at the end not for ever."""
        while self._queue.qsize() >= 2 * GROUP_RECORDS:
            left = self._put_until - time.monotonic()
            if left <= 0:
                return
            self._room.clear()
            if self._queue.qsize() >= 2 * GROUP_RECORDS:
                self._room.wait(min(left, PUT_SECONDS))
        self._queue.put(outcome)
        if self._fills_a_group() and not self._hurry.is_set():
            self._hurry.set()

    def end_within(self, *, seconds: float) -> None:
        """Have no `put` wait for longer than this."""
        self._put_until = time.monotonic() + seconds

    def depth(self) -> int:
        return self._queue.qsize()

    def nudge(self, *, hurry: bool = False) -> None:
        """Have `get` return; in a `hurry`, a wait for company as well."""
        if hurry:
            self._hurry.set()
        if not self._queue.qsize():  # else it is awake
            self._queue.put(None)

    def get(self, *, timeout: float | None) -> Outcome | None:
        """Wait for the first of a group, None after a nudge; raises queue.Empty when the time is over."""
        self._hurry.clear()
        return self._queue.get(timeout=timeout)

    def company(self, *, seconds: float) -> list[Outcome]:
        """Return whoever joins the first, waiting so long, but not once there is a group of them."""
        if seconds and not self._fills_a_group():
            self._hurry.wait(seconds)
        group: list[Outcome] = []
        with contextlib.suppress(queue.Empty):
            while len(group) < GROUP_RECORDS - 1:
                if outcome := self._queue.get_nowait():
                    group.append(outcome)
        self._room.set()
        return group

    def _fills_a_group(self) -> bool:
        return self._queue.qsize() >= GROUP_RECORDS - 1  # and one in hand
