"""Signals: the first SIGTERM or SIGINT asks to stop, the second ends the process at once."""

import logging
import os
import select
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Self

from dropsight.errors import DropsightError

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Lifecycle:
    """Use on the main thread, as a context manager: old handlers come back at the end.

    A handler may interrupt the main thread anywhere, even inside a lock; so it only sets a flag, and
    the wake-up goes through a pipe.
    """

    def __init__(self) -> None:
        self.stopping = self.signalled = False
        self.failure: BaseException | None = None
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        self._former = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        # The kernel's word that somebody wants a file on which we hold a lease for a moment.
        self._former[signal.SIGIO] = signal.signal(signal.SIGIO, signal.SIG_IGN)
        self._former_hook = threading.excepthook
        threading.excepthook = self._on_thread_failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        threading.excepthook = self._former_hook
        for number, handler in self._former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def request_stop(self) -> None:
        """Ask to stop, from any thread."""
        self.stopping = True
        os.write(self._wake_writer, b"\0")

    def wait(self, seconds: float) -> bool:
        """Wait until a stop is asked for, at most so long; tell whether it was."""
        if not self.stopping:
            select.select([self._wake_reader], [], [], seconds)
        return self.stopping

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.stopping:
            os.write(sys.stderr.fileno(), b"dropsight: stopped at once; what was in hand stays there\n")
            os._exit(128 + number)
        self.stopping = self.signalled = True

    def _on_thread_failure(self, hook: threading.ExceptHookArgs) -> None:
        """A bug in a thread ends the process: the folder is the state, so a restart is the recovery."""
        if isinstance(hook.exc_value, DropsightError):
            log.error("%s", hook.exc_value)
        else:
            self._former_hook(hook)
        self.failure = hook.exc_value
        self.request_stop()
