"""What takes much memory for a while: whoever lacks some meanwhile may lack it for that."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Company:
    """Thread-safe: counts the large pictures and clips that are being decoded, and those that were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = self._ever = 0

    @contextmanager
    def joined(self) -> Iterator[int]:
        """Be one of them until this ends; yield what to give to `had_since`, which leaves this one out."""
        with self._lock:
            mark = self._ever - self._now + 1
            self._now += 1
            self._ever += 1
        try:
            yield mark
        finally:
            with self._lock:
                self._now -= 1

    def had_since(self, mark: int) -> bool:
        """Whether there was another at the mark or since."""
        with self._lock:
            return self._ever > mark


COMPANY = Company()
"""Of this process, and of those that it has begun."""
