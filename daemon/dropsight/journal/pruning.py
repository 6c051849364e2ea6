"""Keeps the journal within its bounds: what a follower has not received goes last, and is counted."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from dropsight.journal.failure_share import Flood
from dropsight.journal.marks import History, Mark
from dropsight.journal.reader import JournalReader
from dropsight.journal.store import Journal, Pruned

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


class Pruner:
    """For the recorder's thread; raises StoreError."""

    def __init__(self, store: Journal, reader: JournalReader, history: History, flood: Flood) -> None:
        self._store, self._reader, self._history, self._flood = store, reader, history, flood
        self._pruned_at, self._filed_since, self._pause = 0, 0, PAUSE_SECONDS
        self._again_at: float | None = None
        for mark in history.marks:
            mark.dropped_upto = self._reader.oldest(after=mark.seq) - 1

    @property
    def at_rest(self) -> bool:
        return self._again_at is None

    def note_filed(self, records: int) -> None:
        """So many that counted for no bound do so from now on."""
        self._filed_since += records

    def prune_if_due(self, *, newest: int, settled: int) -> None:
        """`settled` is how far the log is for sure."""
        now = time.monotonic()
        again = self._again_at is not None and now >= self._again_at
        if max(newest - self._pruned_at, self._filed_since) < self._history.prune_every and not again:
            return
        self._pruned_at, self._filed_since = newest, 0
        pruned = list(self._prune(newest, settled))
        # What the log does not have for sure goes without waiting for more records.
        got_on = not again or any(each.all for each in pruned)
        self._pause = PAUSE_SECONDS if got_on else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._again_at = now + self._pause if any(each.left for each in pruned) else None

    def _prune(self, newest: int, settled: int) -> Iterator[Pruned]:
        with ExitStack() as held:
            for mark in self._history.marks:
                held.enter_context(mark.lock)
            yield from self._prune_held(newest, settled)

    def _prune_held(self, newest: int, settled: int) -> Iterator[Pruned]:
        """While no follower takes any."""
        places = self._history.places()
        taken = min(places.values(), default=newest)
        known = self._store.prune(after=0, upto=min(settled, taken), keep=self._history.max_records)
        self._flood.forgot(known.early)
        yield known
        # From one follower's place to the next, records are for those that stand before them; what one of
        # these has on its way stays.
        slowest_first = sorted(self._history.marks, key=lambda mark: places[mark.name])
        ends = [places[mark.name] for mark in slowest_first[1:]] + [newest]
        for count, end in enumerate(ends[: len(slowest_first)], start=1):
            waiting = slowest_first[:count]
            in_hand = max(mark.taken for mark in waiting)
            after = max(places[waiting[-1].name], in_hand)
            keep = max(mark.max_backlog for mark in waiting)
            if end > after and newest - after > keep:
                gone = self._drop(waiting, after=after, upto=min(settled, end), keep=keep)
                for mark in waiting if gone.all else ():
                    mark.dropped_upto = self._reader.oldest(after=max(places[mark.name], in_hand)) - 1
                yield gone

    def _drop(self, waiting: Sequence[Mark], *, after: int, upto: int, keep: int) -> Pruned:
        """Prune what none of these has taken, as the longest of their bounds says."""
        gone = self._store.prune(after=after, upto=upto, keep=keep)
        self._flood.forgot(gone.early)
        for mark in waiting if gone.all else ():
            mark.dropped += gone.all
            log.warning("dropped %d records that %s did not accept: %s", gone.all, mark.who, mark.bound)
        return gone
