"""Threads beside the event loop, where the machine may have no room for one more."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from dropsight.errors import MachineError
from dropsight.threads import LIMITS

log = logging.getLogger(__name__)

TOLD_SECONDS = 60.0
# A download in its midst waits so long for a thread, looking this often.
PATIENCE_SECONDS, RETRY_SECONDS = 10.0, 0.25

P = ParamSpec("P")
T = TypeVar("T")


class OneThread(ThreadPoolExecutor):
    """Begins its thread when it is first asked for something; raises MachineError where there is none."""

    def __init__(self, name: str, *, initializer: Callable[[], object] | None = None) -> None:
        super().__init__(1, name, initializer=initializer)
        self._has_begun = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See Executor; what was refused is not done later, either."""
        if not self._has_begun:
            try:
                super().submit(_nothing)  # it stays in the queue where no thread can be started
            except RuntimeError as error:
                raise _shortage(error) from error
            self._has_begun = True
        return super().submit(fn, *args, **kwargs)


async def aside(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As asyncio.to_thread; raises MachineError where there has been no thread for it for long.

    For what may be done more than once: where one was refused, it may be done later as well.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except RuntimeError as error:
            shortage = _shortage(error)
            if time.monotonic() >= until:
                raise shortage from error
        await asyncio.sleep(RETRY_SECONDS)


def _nothing() -> None:
    """Have the thread begin."""


_told_at = -math.inf


def _shortage(error: RuntimeError) -> MachineError:
    """Return what to answer with, told once a minute; raises what is something else."""
    global _told_at  # noqa: PLW0603 - one log for all
    if "start new thread" not in str(error):  # all that Python says of it
        raise error
    text = f"no thread can be started for this request: too many already ({LIMITS})"
    if time.monotonic() - _told_at >= TOLD_SECONDS:
        _told_at = time.monotonic()
        log.warning("the dashboard refuses what needs a thread for now: %s", text)
    return MachineError(text)
