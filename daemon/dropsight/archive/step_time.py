"""How long a worker may take over a step of an image."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dropsight.children import WorkingTime
from dropsight.threads import begin

PATIENCE_SECONDS = 3600.0
_LOOK_SECONDS = 1.0


class _Step(NamedTuple):
    number: int
    seconds: float


class StepTime:
    """Ends this process by SIGALRM where a step works, or sleeps, for too long: native code hears of no less.

    Without a processor it may take an hour more. So long, too, has native code that keeps the interpreter's
    lock, as only the kernel ends that. One step at a time.
    """

    def __init__(self) -> None:
        self._number = 0
        self._step: _Step | None = None
        self._closed = threading.Event()
        begin(threading.Thread(target=self._run, name="step time", daemon=True))

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        signal.alarm(int(seconds + PATIENCE_SECONDS))
        self._number += 1
        self._step = _Step(self._number, seconds)
        try:
            yield
        finally:
            self._step = None
            signal.alarm(0)

    def close(self) -> None:
        self._closed.set()

    def _run(self) -> None:
        step: _Step | None = None
        working: WorkingTime | None = None
        while not self._closed.wait(_LOOK_SECONDS):
            if self._step is not step:
                step = self._step
                working = WorkingTime(os.getpid(), step.seconds, patience=PATIENCE_SECONDS) if step else None
            elif working:
                working.waited()
                if working.is_spent and self._step is step:
                    os.kill(os.getpid(), signal.SIGALRM)
