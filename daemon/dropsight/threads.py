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
# What Python, C++ and C print where there was no room for one.
_LACKING = (b"can't start new thread", b"Resource temporarily unavailable", b"pthread_create")
# As many as the others of a daemon may have taken meanwhile.
_ROOM = 4


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


def is_lacking() -> bool:
    """Whether the machine has no room for some more now: then what went wrong may have been for that."""
    done = threading.Event()
    begun = [thread for _ in range(_ROOM) if begins(thread := threading.Thread(target=done.wait))]
    done.set()
    for thread in begun:
        thread.join()
    return len(begun) < _ROOM


def was_lacking(printed: bytes | bytearray) -> bool:
    """Whether a process that printed this on its end had no room for a thread."""
    return any(word in printed for word in _LACKING)


def begins(thread: threading.Thread) -> bool:
    """Start it; tell whether there was room for it."""
    try:
        thread.start()
    except RuntimeError:  # all that Python says of it
        return False
    return True
