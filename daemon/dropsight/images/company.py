"""What takes much memory for a while: whoever lacks some meanwhile may lack it for that."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Company:
    """Thread-safe: counts the large pictures that are being decoded, and those that were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = self._ever = 0

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Be one of them until this ends."""
        with self._lock:
            self._now += 1
            self._ever += 1
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def mark(self) -> int:
        """Return what to give to `had_since`."""
        with self._lock:
            return self._ever - self._now

    def had_since(self, mark: int) -> bool:
        """Whether there was any at the mark or since."""
        with self._lock:
            return self._ever > mark


COMPANY = Company()
"""Of this process, and of those that it has begun."""
