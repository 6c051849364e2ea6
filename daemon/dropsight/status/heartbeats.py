"""Since when each thread has been at its present piece of work; one that waits for work is at none."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dropsight.names import as_text


class Heartbeats:
    """A name belongs to one thread. Anybody may ask, from any thread."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._at: dict[str, str] = {}

    def beat(self, name: str, *, at: str = "") -> None:
        """A piece of work begins, or gets on; `at` is the image that it is about."""
        self._at[name], self._since[name] = at, time.monotonic()

    def excuse(self, name: str) -> None:
        """What this thread does now has a deadline of its own: it counts as work, but never as overdue."""
        self._since[name] = float("inf")

    def rest(self, name: str) -> None:
        """From here on this thread waits for somebody else."""
        self._since.pop(name, None)

    @contextmanager
    def at_work(self, name: str) -> Iterator[None]:
        self.beat(name)
        try:
            yield
        finally:
            self.rest(name)

    def any(self) -> bool:
        """Whether somebody is at work."""
        return bool(self._since)

    def overdue(self, seconds: float) -> list[str]:
        """Name who has been at one piece for longer than this."""
        now = time.monotonic()
        late = [name for name, since in list(self._since.items()) if now - since > seconds]
        return [f"{name} with {as_text(at)}" if (at := self._at.get(name)) else name for name in late]
