"""Slow work, done outside the event loop: queries, thumbnails."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dropsight.errors import DropsightError
from dropsight.journal.browsing import JournalBrowser
from dropsight.web.spare_threads import OneThread

LOWEST_PRIORITY = 19
MOST_WAITING = 64
MOST_ORDERS = 4
# What is found waits for the event loop, which may be asleep: no more than this is found ahead.
LOOKED_UP_AHEAD = 2

Answer = TypeVar("Answer")


class BusyError(DropsightError):
    """Ask again in a moment."""


class BackgroundWork:
    """One thread for each kind of work; pictures step aside for what is to be classified.

    All raise MachineError where the machine has no room for that thread.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._browser: JournalBrowser | None = None
        self._clerk = OneThread("web-journal")
        self._painter = OneThread("web-pictures", initializer=_step_aside)
        self._orderly = OneThread("web-orders")
        self._clerk_thread: int | None = None
        self._waiting = self._orders = 0
        self._desk = asyncio.Semaphore(LOOKED_UP_AHEAD)

    async def look_up(self, work: Callable[[JournalBrowser], Answer]) -> Answer:
        """Raises StoreError, and what `work` does. Quick, so all who may connect may wait for it."""
        loop = asyncio.get_running_loop()
        async with self._desk:
            return await loop.run_in_executor(self._clerk, lambda: work(self._reader()))

    async def paint(self, work: Callable[[], Answer]) -> Answer:
        """Raises BusyError where too much is waiting already, and what `work` does."""
        if self._waiting >= MOST_WAITING:
            raise BusyError("too many picture requests at once; try again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._painter, work)
        finally:
            self._waiting -= 1

    async def order(self, work: Callable[[], Answer]) -> Answer:
        """Have done what may take minutes; raises BusyError where too much of it is waiting already."""
        if self._orders >= MOST_ORDERS:
            raise BusyError("too many requests at once; try again")
        self._orders += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._orderly, work)
        finally:
            self._orders -= 1

    def spent_seconds(self) -> float:
        """Return the processor's time that looking things up has taken so far."""
        thread = self._clerk_thread
        return time.clock_gettime(time.pthread_getcpuclockid(thread)) if thread else 0.0

    def close(self) -> None:
        # An explanation ends when those who make it end, which is later.
        self._orderly.shutdown(wait=False, cancel_futures=True)
        for executor in (self._clerk, self._painter):
            executor.shutdown(cancel_futures=True)
        if self._browser:
            self._browser.close()

    def _reader(self) -> JournalBrowser:
        self._clerk_thread = threading.get_ident()
        if self._browser is None:
            self._browser = JournalBrowser(self._journal)
        return self._browser


def _step_aside() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
