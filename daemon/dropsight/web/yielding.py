"""Throttles the web server: while there are images to classify, it gets a small share of the CPU."""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

# Of each core that the process may use.
SHARE = 0.02
# What was not used is saved up: a person who comes while many images wait is served at once.
CREDIT_SECONDS = 1.0
# Whoever asks whether all is well waits no longer than this, and for those before.
LONGEST_SECONDS = 3.0
# Nor does a flood that is over hold up for long who comes after it.
LONGEST_DEBT_SECONDS = 10.0
LOOK_SECONDS = 0.01
PRIORITY = 10


class Allowance:
    """Seconds of a processor that may be spent, of which there are `rate` more each second."""

    def __init__(self, rate: float, *, now: float, spent: float) -> None:
        self._rate, self._now, self._spent = rate, now, spent
        self._left = CREDIT_SECONDS

    def look(self, *, now: float, spent: float, busy: bool) -> float:
        """Return for how long to wait now, 0 while there is something left.

        What is spent while no image waits costs nobody anything.
        """
        self._left += (now - self._now) * self._rate - (spent - self._spent if busy else 0.0)
        self._left = min(max(self._left, -LONGEST_DEBT_SECONDS * self._rate), CREDIT_SECONDS)
        self._now, self._spent = now, spent
        return max(-self._left / self._rate, 0.0) if busy else 0.0

    def lasts_seconds(self, *, cores: int) -> float:
        """Return for how long there is something left at least, even if as many cores spend it."""
        return max(self._left, 0.0) / cores


class AddressTurns:
    """Requests that wait until there is time for them; addresses take turns. For the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[bool]]] = {}
        self.scarce = False
        """Whether time is short: all but what goes on already waits for `next`."""

    async def mine(self, address: str, gone: asyncio.Future[None]) -> bool:
        """Wait for the turn; tell whether it has come, or who asked was `gone` before."""
        if not (self.scarce or self._waiting):
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(turn)
        leave = partial(self._leave, address, turn)
        gone.add_done_callback(leave)
        try:
            return await turn
        finally:
            gone.remove_done_callback(leave)

    def next(self) -> bool:
        """Let one in; tell whether there was one."""
        if not self._waiting:
            return False
        address = next(iter(self._waiting))
        waiting = self._waiting.pop(address)
        turn = waiting.popleft()
        if waiting:
            self._waiting[address] = waiting  # behind all others
        if not turn.done():
            turn.set_result(True)
        return True

    def _leave(self, address: str, turn: asyncio.Future[bool], _: asyncio.Future[None]) -> None:
        """A flood of those that do not wait for their answers is to fill no memory."""
        if turn.done():
            return
        turn.set_result(False)
        waiting = self._waiting[address]
        waiting.remove(turn)
        if not waiting:
            del self._waiting[address]


async def step_aside(
    turns: AddressTurns, busy: Callable[[], bool], helpers_spent: Callable[[], float]
) -> None:
    """Until cancelled, have the thread of the event loop sleep off what it took beyond its share.

    `helpers_spent` is what other threads took for it, in seconds. All of it waits: what connections cost by
    themselves is not known before it is paid. Requests are let in one by one meanwhile.
    """
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)

    def spent() -> float:
        return time.thread_time() + helpers_spent()

    cores = len(os.sched_getaffinity(0))
    allowance = Allowance(SHARE * cores, now=time.monotonic(), spent=spent())
    while True:
        # While nobody asks for anything there is nothing to look after: each look interrupts a worker.
        await asyncio.sleep(0 if turns.next() else max(allowance.lasts_seconds(cores=cores), LOOK_SECONDS))
        wait = allowance.look(now=time.monotonic(), spent=spent(), busy=busy())
        turns.scarce = wait > 0
        if wait > 0:
            time.sleep(min(wait, LONGEST_SECONDS))  # noqa: ASYNC251 - so that nothing else goes on meanwhile
