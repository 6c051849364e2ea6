"""Starts threads where the machine may have no room for one more."""

import logging
import threading
import time

from dropsight.errors import MachineError

log = logging.getLogger(__name__)

# systemd waits longer for a start, and for a stop.
PATIENCE_SECONDS = 20.0
RETRY_SECONDS = 0.1
LIMITS = "ulimit -u, TasksMax= of the unit, or memory"


def begin(thread: threading.Thread, *, patience_seconds: float = PATIENCE_SECONDS) -> threading.Thread:
    """Start it, once there is room for it; raises MachineError where there is none for so long."""
    until = time.monotonic() + patience_seconds
    lacking = f"no thread can be started for {thread.name}: too many already ({LIMITS})"
    told = False
    while not begins(thread):
        if time.monotonic() >= until:
            raise MachineError(lacking)
        if not told:
            log.warning("%s; trying for %g s", lacking, patience_seconds)
            told = True
        time.sleep(RETRY_SECONDS)
    return thread


def begins(thread: threading.Thread) -> bool:
    """Start it; tell whether there was room for it."""
    try:
        thread.start()
    except RuntimeError:  # all that Python says of it
        return False
    return True
