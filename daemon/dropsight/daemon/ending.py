"""The last messages: how long is waited for a broker at the end."""

import threading
import time
from collections.abc import Callable

from dropsight.sinks.mqtt import Publisher
from dropsight.sinks.session import GOODBYE_SECONDS

DRAIN_SECONDS = 5.0
DRAIN_ONCE_SECONDS = 300.0
FIRST_CONNECT_SECONDS = 35.0
LOOK_SECONDS = 0.02


def end_publishing(publisher: Publisher, thread: threading.Thread, *, patient: Callable[[], bool]) -> None:
    """Publish what is left, and wait for the end: while `patient`, long, and for a first connection too."""
    deadline = time.monotonic() + FIRST_CONNECT_SECONDS
    while patient() and not publisher.tried and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    if patient():
        publisher.stop(drain_seconds=DRAIN_ONCE_SECONDS)
        deadline = time.monotonic() + DRAIN_ONCE_SECONDS
        while patient() and thread.is_alive() and time.monotonic() < deadline:
            thread.join(LOOK_SECONDS)
    publisher.stop(drain_seconds=DRAIN_SECONDS)
    # In the middle of connecting to a broker that says nothing, it would hear of this too late.
    thread.join(DRAIN_SECONDS + GOODBYE_SECONDS + 1.0)
