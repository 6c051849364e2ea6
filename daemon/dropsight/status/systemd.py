"""The word to systemd (sd_notify): while a start takes long, and while the work makes progress."""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from dropsight.children import WorkingTime
from dropsight.threads import begin, begins

log = logging.getLogger(__name__)

EXTENSION_USEC = str(120_000_000)
"""For which a start that says so may go on; further ones have to follow in time."""
LONG_SECONDS = 60.0
# A model that was tried before opens; what works or sleeps for so long hangs, and systemd is to begin anew.
WORK_SECONDS, PATIENCE_SECONDS = 300.0, 3600.0
_LOOK_SECONDS, _NOTIFY_SECONDS = 1.0, 10.0


def _own_time(seconds: float, *, asleep: str = "S") -> WorkingTime:
    return WorkingTime(os.getpid(), seconds, patience=PATIENCE_SECONDS, asleep=asleep)


def notify(**fields: str) -> None:
    """Send fields such as READY=1; nothing happens where no supervisor listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    # A line is a field: what has several lines must not look like several fields.
    message = "\n".join(f"{name}={'; '.join(value.splitlines())}" for name, value in fields.items())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(1.0)
        channel.sendto(message.encode(errors="backslashreplace"), address)


def interval_seconds() -> float:
    """How often systemd wants to hear something; 0 where it asks for no watchdog."""
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6


def patience_seconds() -> float:
    """After how long one piece of work counts as hung; 0 where nobody minds."""
    return interval_seconds() / 2


class Watchdog:
    """Asks `overdue` what makes no progress, a few times within the interval that systemd allows.

    `overdue` takes the seconds after which a piece of work is so, by the clock. One that still is after this
    process has worked, or slept, for as long again ends the service at once: without a processor even what
    gets on takes any time. Nothing runs where systemd asks for no watchdog.
    """

    def __init__(self, overdue: Callable[[float], Collection[str]]) -> None:
        self._overdue = overdue
        self._since: dict[str, WorkingTime] = {}
        self._stopped = threading.Event()
        if interval_seconds() > 0:
            begin(threading.Thread(target=self._run, name="watchdog", daemon=True))

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        often = interval_seconds() / 4
        while not self._stopped.wait(min(often, _LOOK_SECONDS) if self._since else often):
            self._look()
            if what := next((name for name, own in self._since.items() if own.is_over), None):
                log.critical("%s still makes no progress: systemd is asked to restart the service", what)
                notify(WATCHDOG="trigger")
                return
            notify(WATCHDOG="1")

    def _look(self) -> None:
        overdue = self._overdue(patience_seconds())
        self._since = {name: own for name, own in self._since.items() if name in overdue}
        for own in self._since.values():
            own.waited()
        for name in overdue:
            if name not in self._since:
                log.error("%s has made no progress for %g s", name, patience_seconds())
                self._since[name] = _own_time(patience_seconds(), asleep="SD")  # a disk may hang, too


class LongStart:
    """A start that takes long, as others have the processor; use as a context manager.

    Neither the start nor, after a reload, the watchdog runs out meanwhile, until this process has worked, or
    slept, for too long. What it waits for has a bound of its own, and tells of itself by `looked`.
    """

    def __init__(self, what: str, *, work_seconds: float = WORK_SECONDS) -> None:
        self._what, self._work_seconds = what, work_seconds
        self._own = self._anew()
        self._notified_at, self._told = float("-inf"), False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="long start", daemon=True)

    def __enter__(self) -> Self:
        self._extend()
        begins(self._thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def looked(self, working: WorkingTime) -> None:
        """Somebody waits for this process, which is still at work."""
        self._own = self._anew()
        self._go_on(working)

    def _anew(self) -> WorkingTime:
        return _own_time(self._work_seconds)

    def _run(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            own = self._own
            own.waited()
            if not own.is_over:
                self._go_on(own)

    def _go_on(self, working: WorkingTime) -> None:
        elapsed, worked = working.seconds
        if elapsed > LONG_SECONDS and not self._told:
            self._told = True
            had = f"it had a processor for {worked:.0f} s of {elapsed:.0f}, other programs have the rest"
            log.warning("%s takes long: %s; it goes on", self._what, had)
            notify(STATUS=f"{self._what} takes long: {had}")
        if time.monotonic() - self._notified_at > _NOTIFY_SECONDS:
            self._extend()

    def _extend(self) -> None:
        self._notified_at = time.monotonic()
        notify(EXTEND_TIMEOUT_USEC=EXTENSION_USEC, WATCHDOG="1")
