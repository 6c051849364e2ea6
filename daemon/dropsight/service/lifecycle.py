"""Signals: the first SIGTERM or SIGINT stops, a second one ends the process at once; SIGHUP reloads."""

import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from dropsight.config import Config
from dropsight.errors import DropsightError
from dropsight.status.control import ControlSocket
from dropsight.stderr import Unwaiting
from dropsight.web.port import Port

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# timeout(1) signals its child and then the child's group: that is one wish.
ONE_WISH_SECONDS = 0.5
_AT_ONCE = "dropsight: stopped at once; images in progress stay in their folders\n"
# Between a commit and what follows from it, only a start sorts out what is done and what is not.
ESSENTIAL = {"recorder"}


class Lifecycle:
    """Use on the main thread, as a context manager: old handlers come back at the end.

    A handler may interrupt the main thread anywhere, even inside a lock; so it only sets a flag, and
    the wake-up goes through a pipe.
    """

    def __init__(self) -> None:
        self._asked = False
        self._signalled_at: float | None = None
        self._reload_asked = False
        self.successor: Config | None = None
        self.control, self.port = ControlSocket(), Port()
        """They stay over a reload, and are closed with the last daemon."""
        self.failure: BaseException | None = None
        self._on_lost: Callable[[str, BaseException], None] | None = None
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        self._former = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        self._former[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hangup)
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
        self.control.close()
        self.port.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    @property
    def waker(self) -> int:
        """The descriptor that signals are told through."""
        return self._wake_writer

    @property
    def signalled(self) -> bool:
        """Whether it was a signal that asked to stop: then there is no beginning again."""
        return self._signalled_at is not None

    @property
    def stopping(self) -> bool:
        return self._asked or self.signalled

    def request_stop(self) -> None:
        """Ask to stop, from any thread."""
        self._asked = True
        os.write(self._wake_writer, b"\0")

    def request_restart(self, config: Config) -> None:
        """Ask to stop in order to begin again with another config."""
        self.successor = config
        self.request_stop()

    def go_on_without(self, on_lost: Callable[[str, BaseException], None] | None) -> None:
        """Have this be told of a thread that a bug ended, and others go on; without it, all ends."""
        self._on_lost = on_lost

    def begin_again(self) -> Config | None:
        """After a stop: return the config to go on with, None where the stop was meant or a thread failed."""
        successor, self.successor = self.successor, None
        if successor is None or self.signalled or self.failure:
            return None
        self._asked, self._on_lost = False, None  # which held the former daemon, with its interpreters
        return successor

    def take_reload(self) -> bool:
        """Tell whether a reload was asked for since the last time."""
        if not self._reload_asked:
            return False
        self._reload_asked = False
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until something is asked for, at most so long; tell whether it was a stop."""
        if not (self.stopping or self._reload_asked):
            select.select([self._wake_reader], [], [], seconds)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)
        return self.stopping

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._signalled_at is None:
            self._signalled_at = now
        elif now - self._signalled_at > ONE_WISH_SECONDS:
            with contextlib.suppress(OSError):
                Unwaiting(sys.stderr).write(_AT_ONCE)
            os._exit(128 + number)

    def _on_hangup(self, _number: int, _: FrameType | None) -> None:
        self._reload_asked = True

    def _on_thread_failure(self, hook: threading.ExceptHookArgs) -> None:
        """A bug in what all depends on ends the process: the folder is the state, a restart the recovery."""
        name = hook.thread.name if hook.thread else "a thread"
        error = hook.exc_value or hook.exc_type()
        if isinstance(error, DropsightError):
            log.error("%s", error)
        elif self._on_lost and name not in ESSENTIAL:
            self._on_lost(name, error)
            return
        else:
            log.critical("internal error in %s", name, exc_info=error)
        self.failure = error
        self.request_stop()
