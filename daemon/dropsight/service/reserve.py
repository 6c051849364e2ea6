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
        while self._kept:
            os.close(self._kept.pop())

    def _is_short(self) -> bool:
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            return error.errno in {errno.EMFILE, errno.ENFILE}
        self._fill()
        return False

    def _fill(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._kept) < COUNT:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
