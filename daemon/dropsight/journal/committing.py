"""A group of records into the journal, in one transaction, however long the disk makes it wait."""

import itertools
import logging
import threading
import time
from collections.abc import Sequence

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.intake.in_hand import RECORDING, InHand
from dropsight.journal.durability import Durability
from dropsight.journal.entering import Entered, Entries, Keeper
from dropsight.journal.filer import NAME
from dropsight.journal.mishaps import EncodedRecord, tell_unless_damaged
from dropsight.journal.pacing import GROUP_RECORDS, Pace
from dropsight.journal.recording import Durable, Finished, repeated
from dropsight.journal.store import Journal
from dropsight.records import encode
from dropsight.status.heartbeats import Heartbeats
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class Committer:
    """For the recorder's thread, whose heartbeats these are; `stopping` ends the wait for a disk."""

    def __init__(
        self,
        store: Journal,
        durability: Durability,
        in_hand: InHand,
        *,
        heartbeats: Heartbeats,
        troubles: Troubles,
        supervision: Supervision,
        stopping: threading.Event,
        events: Keeper | None = None,
    ) -> None:
        self._store, self._durability, self._in_hand = store, durability, in_hand
        self._events = events
        self._heartbeats, self._troubles = heartbeats, troubles
        self._contained, self._stopping = supervision.contained, stopping
        self.pace = Pace()
        self.held_up = False
        """The journal takes nothing for now: whoever waits for the recorder does so rightly."""

    def commit(self, group: Sequence[EncodedRecord]) -> list[Entered] | None:
        """Return the place of each, none for one that is on record; None when it takes nothing at the end."""
        entries = Entries.of(group, self._events, self._store)
        began = time.monotonic()
        self._heartbeats.rest(NAME)  # a disk under a heavy load takes its time
        with self._contained("syncing"):
            crashpoints.reach("in_syncing")
            self._durability.sync_images([made.finished for made in group])
        while True:
            self._heartbeats.beat(NAME)
            crashpoints.reach("before_commit")
            try:
                seqs = self._store.add(entries.rows, entries.news)
            except StoreError as error:
                tell_unless_damaged(error, self._troubles)
                self.held_up = True
                self._heartbeats.rest(NAME)
                if self._stopping.wait(RETRY_SECONDS):
                    log.warning("%d images stay in their folder: the journal cannot be written", len(group))
                    return None
                began = time.monotonic()
            else:
                self.held_up = False
                entries.keep()
                with self._contained("what is in hand"):
                    crashpoints.reach("after_commit")
                    self._in_hand.clear(RECORDING, GROUP_RECORDS)
                    self.pace.committed(began=began)
                return entries.entered(seqs)

    def commit_again(self, finished: Finished, free: int) -> list[Durable]:
        """Commit a drop of its own of a file just like an earlier one, by the first ordinal that is free."""
        for repeat in itertools.count(free):
            again = repeated(finished, repeat)
            entered = self.commit([EncodedRecord(again, encode(again.record))])
            if entered is None:
                break
            if found := entered[0].durable():
                return found
        return []
