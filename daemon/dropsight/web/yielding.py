"""The web part steps aside: while there are images to classify it has a small share of a processor's time."""

import asyncio
import os
import threading
import time
from collections.abc import Callable

SHARE = 0.02
LOOK_SECONDS = 0.01
# Whoever asks whether all is well waits no longer than this, and for those before.
LONGEST_SECONDS = 3.0
CREDIT_SECONDS = 0.1
PRIORITY = 10


async def step_aside(busy: Callable[[], bool], helpers_spent: Callable[[], float]) -> None:
    """Until cancelled, have the thread of the event loop sleep off what it took beyond its share.

    `helpers_spent` is what other threads took for it, in seconds. All of it waits, not one request: what a
    flood costs is not known before it is paid. A page that is looked at takes less than the share, and what
    was saved within a while may be spent at once.
    """
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)
    spent, at, owed = time.thread_time() + helpers_spent(), time.monotonic(), 0.0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now_spent, now = time.thread_time() + helpers_spent(), time.monotonic()
        owed = max(owed + (now_spent - spent) / SHARE - (now - at), -CREDIT_SECONDS / SHARE)
        spent, at = now_spent, now
        if not busy():
            owed = min(owed, 0.0)
        elif owed > 0:
            time.sleep(min(owed, LONGEST_SECONDS))  # noqa: ASYNC251 - so that nothing else goes on meanwhile
