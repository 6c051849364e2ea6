"""What all targets share: the process that notifies, what waits, and how many an hour there may be."""

import threading
from pathlib import Path

from dropsight.sinks.notify.allowance import HourlyAllowance
from dropsight.sinks.notify.dispatcher import Dispatcher
from dropsight.sinks.notify.notification_queue import FILE, NotificationQueue


class NotifierParts:
    """Opened for so many notifiers; when the last of them has left, it is closed."""

    def __init__(self, state: Path, dispatcher: Dispatcher | None = None) -> None:
        self.dispatcher = dispatcher or Dispatcher()
        self.queue = NotificationQueue(state / FILE)
        self.allowance = HourlyAllowance(self.queue.sent())
        self._lock, self._inside = threading.Lock(), 0

    def enter(self) -> "NotifierParts":
        with self._lock:
            self._inside += 1
        return self

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            is_last = not self._inside
        if is_last:
            self.dispatcher.close()
            self.queue.close()
