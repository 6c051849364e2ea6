"""The last messages: how long is waited for a broker at the end."""

import threading
import time

from dropsight.sinks.mqtt import Publisher

DRAIN_SECONDS = 5.0
DRAIN_ONCE_SECONDS = 300.0
FIRST_CONNECT_SECONDS = 35.0
LOOK_SECONDS = 0.02


def end_publishing(publisher: Publisher, thread: threading.Thread, *, once: bool) -> None:
    """Publish what is left, and wait for the end; `once` gives a first connection its time."""
    deadline = time.monotonic() + FIRST_CONNECT_SECONDS
    while once and not publisher.tried and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    publisher.stop(drain_seconds=DRAIN_ONCE_SECONDS if once else DRAIN_SECONDS)
    thread.join()
