"""What all targets share: the process that notifies, what waits, and how many an hour there may be."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dropsight.journal.event_messages import EventMessage
from dropsight.sinks.notify.allowance import HourlyAllowance
from dropsight.sinks.notify.dispatcher import Dispatcher
from dropsight.sinks.notify.notification_queue import FILE, NotificationQueue


class NotifierParts:
    """Opened for so many notifiers; when the last of them has left, it is closed."""

    def __init__(self, state: Path, dispatcher: Dispatcher | None = None, *, inboxes: int = 1) -> None:
        self.dispatcher = dispatcher or Dispatcher()
        self.queue = NotificationQueue(state / FILE)
        self.allowance = HourlyAllowance(self.queue.sent(), inboxes=inboxes)
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


class EventRecords(NamedTuple):
    """What is known of the records that events are of; as in FollowerContext."""

    picture: Callable[[str, int], bytes]
    inboxes: Callable[[Sequence[EventMessage]], Sequence[str]]
