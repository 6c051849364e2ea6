"""Threads by name."""

import threading
from collections.abc import Callable


def start(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name)
    thread.start()
    return thread
