"""The word to systemd (sd_notify), and feeding its watchdog while the work makes progress."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable

from dropsight.threads import begin

log = logging.getLogger(__name__)


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
    """Asks `hung` what makes no progress, a few times within the interval that systemd allows.

    `hung` takes the seconds after which a piece of work counts as hung, and returns what hangs. What still
    does so when asked again ends the service at once. Nothing runs where systemd asks for no watchdog.
    """

    def __init__(self, hung: Callable[[float], str | None]) -> None:
        self._hung = hung
        self._stopped = threading.Event()
        if interval_seconds() > 0:
            begin(threading.Thread(target=self._run, name="watchdog", daemon=True))

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        before: str | None = None
        while not self._stopped.wait(interval_seconds() / 4):
            what = self._hung(patience_seconds())
            if what is None:
                notify(WATCHDOG="1")
            elif what == before:
                log.critical("%s still makes no progress: systemd is asked to restart the service", what)
                notify(WATCHDOG="trigger")
                return
            else:
                log.error("%s has made no progress for %g s", what, patience_seconds())
            before = what
