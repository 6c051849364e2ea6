"""Ctrl-C for commands that finish what they have in hand."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType


@contextmanager
def stop_asked(says: str = "") -> Iterator[Event]:
    """Have the first Ctrl-C set this, and say something; a second one is a KeyboardInterrupt, as ever.

    That gets lost where Python passes over exceptions, in a finalizer or a callback.
    """
    asked = Event()
    former = signal.getsignal(signal.SIGINT)

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        if says:  # beneath Python's streams, in which the signal may have come
            os.write(sys.stderr.fileno(), f"\n{says}\n".encode())
        signal.signal(signal.SIGINT, former)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, former)
