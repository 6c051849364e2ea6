"""What all targets share: the process that notifies, what waits, and how many an hour there may be."""

import threading
from pathlib import Path

from dropsight.sinks.notify.allowance import HourlyAllowance
from dropsight.sinks.notify.courier import Courier
from dropsight.sinks.notify.pile import FILE, Pile


class Desk:
    """Opened for so many notifiers; when the last of them has left, it is closed."""

    def __init__(self, state: Path, courier: Courier | None = None) -> None:
        self.courier = courier or Courier()
        self.pile = Pile(state / FILE)
        self.allowance = HourlyAllowance(self.pile.sent())
        self._lock, self._inside = threading.Lock(), 0

    def enter(self) -> "Desk":
        with self._lock:
            self._inside += 1
        return self

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            is_last = not self._inside
        if is_last:
            self.courier.close()
            self.pile.close()
