"""The journal within its bounds: what a broker has not taken goes last, and is counted."""

import logging
import time
from collections.abc import Iterator

from dropsight.service.flood import Flood
from dropsight.service.recording import History
from dropsight.service.store import JournalReader, Pruned, Store

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


class Pruner:
    """For the recorder's thread; raises StoreError."""

    def __init__(
        self, store: Store, reader: JournalReader, history: History, flood: Flood, *, acknowledged: int
    ) -> None:
        self._store, self._reader, self._history, self._flood = store, reader, history, flood
        self._pruned_at, self._pause = 0, PAUSE_SECONDS
        self._again_at: float | None = None
        self.dropped = 0
        """Records that went unpublished beyond the bound."""
        self.dropped_upto = reader.oldest(after=acknowledged) - 1

    @property
    def at_rest(self) -> bool:
        return self._again_at is None

    def prune_if_due(self, *, newest: int, settled: int, acknowledged: int) -> None:
        """`settled` and `acknowledged` are how far the log and the broker are for sure."""
        now = time.monotonic()
        again = self._again_at is not None and now >= self._again_at
        if newest - self._pruned_at < self._history.prune_every and not again:
            return
        self._pruned_at = newest
        pruned = list(self._prune(newest, settled, acknowledged))
        # What the log does not have for sure, or is not filed yet, goes without waiting for more records.
        got_on = not again or any(each.all for each in pruned)
        self._pause = PAUSE_SECONDS if got_on else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._again_at = now + self._pause if any(each.left for each in pruned) else None

    def _prune(self, newest: int, settled: int, acknowledged: int) -> Iterator[Pruned]:
        backlog = self._history.max_backlog
        taken = newest if backlog is None else acknowledged
        known = self._store.prune(after=0, upto=min(settled, taken), keep=self._history.max_records)
        self._flood.forgot(known.early)
        yield known
        if backlog is not None and newest - taken > backlog:
            waiting = self._store.prune(after=taken, upto=settled, keep=backlog)
            self._flood.forgot(waiting.early)
            if waiting.all:
                self._drop_unread(waiting.all, acknowledged)
            yield waiting

    def _drop_unread(self, count: int, acknowledged: int) -> None:
        self.dropped += count
        self.dropped_upto = self._reader.oldest(after=acknowledged) - 1
        log.warning("dropped %d records that the broker did not take: mqtt.max_backlog", count)
