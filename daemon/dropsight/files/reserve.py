"""Descriptors that are kept back for what cannot wait: the journal, the log and the filing."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator

# A rotation of the log, or an image filed away with its reason, opens a handful.
COUNT = 16


class Reserve:
    """Thread-safe. Others may be faster when it is let go, so that it is larger than what it is for."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._closed, self._lock = False, threading.Lock()
        self._fill()

    @contextlib.contextmanager
    def lent_where_short(self) -> Iterator[None]:
        """Let the reserve go for a while, unless there are descriptors anyway."""
        with self._lock:
            is_short = self._is_short()
            if is_short:
                _close_all(self._kept)
        try:
            yield
        finally:
            if is_short:
                with self._lock:
                    self._fill()

    def close(self) -> None:
        """Keep none back any more."""
        with self._lock:
            self._closed = True
            _close_all(self._kept)

    def _is_short(self) -> bool:
        """Whether the work might not get what it opens: one that is free by chance is soon used up."""
        found: list[int] = []
        try:
            _open_until(found, COUNT)
        except OSError as error:
            return error.errno in {errno.EMFILE, errno.ENFILE}
        finally:
            _close_all(found)
        self._fill()
        return False

    def _fill(self) -> None:
        with contextlib.suppress(OSError):
            _open_until(self._kept, 0 if self._closed else COUNT)


def _open_until(descriptors: list[int], count: int) -> None:
    while len(descriptors) < count:
        descriptors.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
