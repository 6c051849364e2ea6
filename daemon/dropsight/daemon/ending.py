"""The last messages: how long is waited for a broker at the end."""

import threading
import time

from dropsight.sinks.mqtt import Publisher
from dropsight.sinks.session import GOODBYE_SECONDS

DRAIN_SECONDS = 5.0
DRAIN_ONCE_SECONDS = 300.0
FIRST_CONNECT_SECONDS = 35.0
LOOK_SECONDS = 0.02


def end_publishing(publisher: Publisher, thread: threading.Thread, *, once: bool) -> None:
    """Publish what is left, and wait for the end; `once` gives a first connection its time."""
    deadline = time.monotonic() + FIRST_CONNECT_SECONDS
    while once and not publisher.tried and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    drain_seconds = DRAIN_ONCE_SECONDS if once else DRAIN_SECONDS
    publisher.stop(drain_seconds=drain_seconds)
    # In the middle of connecting to a broker that says nothing, it would hear of this too late.
    thread.join(drain_seconds + GOODBYE_SECONDS + 1.0)
