"""Descriptors that are kept back for what cannot wait: the journal, the log and the filing."""

import contextlib
import errno
import os
from collections.abc import Iterator

# A rotation of the log, or an image filed away with its reason, opens a handful.
COUNT = 16


class Reserve:
    """For one thread. Others may be faster when it is let go, so that it is larger than what it is for."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._fill()

    @contextlib.contextmanager
    def lent_where_short(self) -> Iterator[None]:
        """Let the reserve go for a while, unless there are descriptors anyway."""
        if not self._is_short():
            yield
            return
        self.close()
        try:
            yield
        finally:
            self._fill()

    def close(self) -> None:
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
            _open_until(self._kept, COUNT)


def _open_until(descriptors: list[int], count: int) -> None:
    while len(descriptors) < count:
        descriptors.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
