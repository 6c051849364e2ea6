"""Feeding systemd's watchdog, only while the work makes progress."""

import logging
import os
import threading
from collections.abc import Callable

from dropsight.status.notify import notify

log = logging.getLogger(__name__)


def interval_seconds() -> float:
    """How often systemd wants to hear something; 0 where it asks for no watchdog."""
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6


def patience_seconds() -> float:
    """After how long one piece of work counts as hung; 0 where nobody minds."""
    return interval_seconds() / 2


class Watchdog:
    """Asks `hung` what makes no progress, a few times within the interval that systemd allows.

    `hung` takes the seconds after which a piece of work counts as hung, and returns what hangs. What still
    does so when asked again ends the service at once. Nothing runs where systemd asks for no watchdog.
    """

    def __init__(self, hung: Callable[[float], str | None]) -> None:
        self._hung = hung
        self._stopped = threading.Event()
        if interval_seconds() > 0:
            threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        before: str | None = None
        while not self._stopped.wait(interval_seconds() / 4):
            what = self._hung(patience_seconds())
            if what is None:
                notify(WATCHDOG="1")
            elif what == before:
                log.critical("%s still makes no progress: the service is to be restarted", what)
                notify(WATCHDOG="trigger")
                return
            else:
                log.error("%s has made no progress for %g s", what, patience_seconds())
            before = what
