"""Feeding systemd's watchdog, only while the work makes progress."""

import logging
import os
import threading
from collections.abc import Callable

from dropsight.service.notify import notify

log = logging.getLogger(__name__)


class Watchdog:
    """Asks `hung` what makes no progress, a few times within the interval that systemd allows.

    `hung` takes the seconds after which work on one image counts as hung, and returns what hangs. Nothing
    runs where systemd asks for no watchdog.
    """

    def __init__(self, hung: Callable[[float], str | None]) -> None:
        self._hung = hung
        self._seconds = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        self._stopped = threading.Event()
        if self._seconds > 0:
            threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        told = False
        while not self._stopped.wait(self._seconds / 4):
            what = self._hung(self._seconds / 2)
            if what is None:
                notify(WATCHDOG="1")
            elif not told:
                told = True
                log.critical("%s makes no progress: left to the watchdog", what)
