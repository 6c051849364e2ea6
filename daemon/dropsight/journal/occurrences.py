"""What becomes of events without a record: they end, or are of what is wrong around the daemon."""

import time
from collections import deque
from collections.abc import Callable

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.journal.entering import Keeper, happened_at
from dropsight.journal.event_messages import EventMessage
from dropsight.journal.event_table import EventNews
from dropsight.journal.mishaps import tell_unless_damaged
from dropsight.journal.recording import RecordedEvent, row_of_message
from dropsight.journal.store import Journal
from dropsight.status.troubles import Troubles

RETRY_SECONDS = 1.0


class Occurrences:
    """For the recorder's thread, but for `put`. After a crash, whoever put one looks what is on record."""

    def __init__(
        self, store: Journal, keeper: Keeper | None, troubles: Troubles, *, nudge: Callable[[], None]
    ) -> None:
        self._store, self._keeper, self._troubles, self._nudge = store, keeper, troubles, nudge
        self._waiting: deque[EventMessage] = deque()
        self._again_at = 0.0

    @property
    def at_rest(self) -> bool:
        return not self._waiting

    def put(self, message: EventMessage) -> None:
        """From any thread."""
        self._waiting.append(message)
        self._nudge()

    def seconds_to_next(self, most: float | None) -> float | None:
        """How long until an event may be over, no longer than `most`; None for never."""
        due = self._keeper.seconds_to_next if self._keeper else None
        if due is None:
            return most
        due = max(due, self._again_at - time.monotonic(), 0.0)
        return due if most is None else min(due, most)

    def commit(self) -> list[RecordedEvent]:
        """Have what is due on disk, and return what is new there; on a full disk it goes on waiting."""
        waiting = list(self._waiting)
        if not (waiting or self.seconds_to_next(None) == 0.0):
            return []
        keeper = self._keeper
        ends = []
        if keeper:
            keeper.begin()
            ends = [each.message for each in keeper.over(time.time())]
        messages = [*waiting, *ends]
        news = EventNews(messages, keeper.states() if keeper else ())
        crashpoints.reach("before_occurrence")
        try:
            seqs = self._store.add(list(map(row_of_message, messages)), news) if news else []
        except StoreError as error:
            self._again_at = time.monotonic() + RETRY_SECONDS
            tell_unless_damaged(error, self._troubles)
            return []
        crashpoints.reach("after_occurrence")
        if keeper:
            keeper.kept_ends()
        for _ in waiting:
            self._waiting.popleft()
        return happened_at(messages, iter(seqs))
