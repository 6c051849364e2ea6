"""Frames of clips as they are asked for: a thread and a process of their own, both of the lowest priority."""

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from dropsight.errors import ImageError
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.web.background import LOWEST_PRIORITY, BusyError
from dropsight.web.spare_threads import OneThread
from dropsight.web.stills import STILL_BOUNDS

MOST_WAITING = 64
MOST_FAULTS = 256
# A machine that had no time for it may have some later.
FAULT_SECONDS = 600.0


class ClipPictures:
    """For the event loop's thread. The process ends when nobody waits: it takes much memory."""

    def __init__(self, bounds: ClipBounds = STILL_BOUNDS) -> None:
        self._thread = OneThread("web-clips", initializer=_step_aside)
        self._closing = threading.Event()
        self._decoder = ClipDecoder(bounds, stopping=self._closing.is_set)
        self._faults: OrderedDict[str, tuple[float, ImageError]] = OrderedDict()
        self._waiting = 0

    @property
    def pid(self) -> int | None:
        """Of the process, None where there is none."""
        return self._decoder.pid

    async def make(self, record_id: str, work: Callable[[ClipDecoder], bytes]) -> bytes:
        """Return what `work` makes on the thread.

        Raises BusyError where too much waits, MachineError, and ImageError: at once for a clip that gave
        none a while ago, so that asking again and again costs nothing.
        """
        since, fault = self._faults.get(record_id, (0.0, None))
        if fault and time.monotonic() - since < FAULT_SECONDS:
            raise fault
        if self._waiting >= MOST_WAITING:
            raise BusyError("too many picture requests at once; try again")
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(work, self._decoder))
        except ImageError as error:
            self._faults[record_id] = time.monotonic(), error
            if len(self._faults) > MOST_FAULTS:
                self._faults.popitem(last=False)
            raise
        finally:
            self._waiting -= 1
            if not self._waiting and not self._closing.is_set():
                self._thread.submit(self._rest)

    def close(self) -> None:
        """End what is in hand, and the process."""
        self._closing.set()
        self._thread.shutdown(cancel_futures=True)
        self._decoder.close()

    def _rest(self) -> None:
        if not self._waiting:
            self._decoder.close()


def _step_aside() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
