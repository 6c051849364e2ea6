"""Ctrl-C for commands that finish what they have in hand."""

import contextlib
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

    That gets lost where Python passes over exceptions, in a finalizer or a callback. SIGTERM, by which Ray
    and Kubernetes end what has little time left, is one at once.
    """
    asked = Event()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        if says:  # beneath Python's streams, in which the signal may have come
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), f"\n{says}\n".encode())
        signal.signal(signal.SIGINT, former[signal.SIGINT])

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
