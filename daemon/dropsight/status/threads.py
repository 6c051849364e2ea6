"""Threads by name."""

import threading
from collections.abc import Callable


def start(name: str, target: Callable[[], None], *, daemon: bool = False) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=daemon)
    thread.start()
    return thread
