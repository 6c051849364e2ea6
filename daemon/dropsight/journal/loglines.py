"""The rolling log follows the journal: one line per record, in order, across crashes and full disks."""

import time
from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from dropsight import crashpoints
from dropsight.errors import DamagedError, SinkError, StoreError, UnsyncedError
from dropsight.journal.reader import JournalReader
from dropsight.records import Glance
from dropsight.status.troubles import Troubles

SYNC_SECONDS = 1.0
BATCH = 64
# Of what the log has missed: batches at a time, so that new records and the cursor get their turn.
BATCHES = 4
# Far more than come between two syncs of the log.
UNSYNCED_LINES = 1_024


class LineLog(Protocol):
    """Where lines go for other programs to read; raises SinkError where it cannot take them for now.

    UnsyncedError: some that it took since the last sync may be lost.
    """

    set_apart: int
    """Lines of failed images, since the start, that went to a file of their own."""

    def append(self, lines: Sequence[bytes]) -> bool:
        """Append; tell whether everything before them was synced on the way, by a rotation."""

    def sync(self) -> None: ...
    def recent_ids(self, ids: Collection[str]) -> set[str]: ...
    def close(self) -> None: ...


class _LoggedId(msgspec.Struct):
    id: str


_identified = Glance(_LoggedId)


class LogLines:
    """Records up to seq `logged` stand in the log, those up to `synced` also after a loss of power."""

    def __init__(self, lines: LineLog, reader: JournalReader, troubles: Troubles, *, synced: int) -> None:
        self._lines, self._reader, self._troubles = lines, reader, troubles
        self.logged = self.synced = synced
        self._next_sync = 0.0
        self._behind = self._is_in_doubt = False
        self._unsure_upto = self._started_at = 0

    @property
    def set_apart(self) -> int:
        return self._lines.set_apart

    @property
    def at_rest(self) -> bool:
        return self.logged == self.synced and not (self._behind or self._is_in_doubt)

    def append(self, lines: Sequence[bytes], *, newest: int) -> None:
        """Append the lines of records that were just committed, the last of which is `newest`."""
        if self._behind:
            return  # they follow from the journal, in their order, once the log takes lines again
        try:
            self._append(lines, newest=newest)
        except SinkError as error:
            self._behind = True
            self._troubles.raised("log", error)

    def recover(self, *, upto: int) -> None:
        """After a start: append what the journal has beyond the cursor, save what stands there already."""
        self._unsure_upto, self._started_at = upto, self.logged
        self._behind = self.logged < upto
        self.sync()

    def sync_if_due(self) -> None:
        if not self.at_rest and time.monotonic() >= self._next_sync:
            self.sync()

    @property
    def seconds_to_sync(self) -> float:
        """Not above SYNC_SECONDS; nothing while there is more to catch up with."""
        return min(
            max(self._next_sync - time.monotonic(), 0.0) if self._behind else SYNC_SECONDS, SYNC_SECONDS
        )

    def sync(self) -> None:
        """Have what was appended on disk; catch up with a part of what was missed."""
        self._next_sync = time.monotonic() + SYNC_SECONDS
        crashpoints.reach("in_flushing")
        try:
            if self._behind:
                self._catch_up()
            self._sync_lines()
        except DamagedError:
            raise
        except (SinkError, StoreError) as error:
            self._troubles.raised("log", error)
            return
        self._troubles.cleared("log")
        if self._is_in_doubt:
            self._doubt(upto=self.logged)
        else:
            self.synced = self.logged
        if self._behind:
            self._next_sync = 0.0

    def _sync_lines(self) -> None:
        """Once that has failed, lines go on being appended; no later one speaks for any of these."""
        try:
            self._lines.sync()
        except UnsyncedError:
            self._is_in_doubt = True
            raise

    def _catch_up(self) -> None:
        for _ in range(BATCHES):
            deliveries = self._reader.pending(self.logged, BATCH, events=False)
            if not deliveries:
                self._behind = False
                return
            ids = [_identified.at(entry.line).id for entry in deliveries]
            known: set[str] = set()
            if self.logged < self._unsure_upto:
                known = self._lines.recent_ids(ids)
                # Lines stand in the order of records; but of a file's last ones, a loss of power may have
                # taken some, and left later ones in another.
                if not known and self.logged - self._started_at > UNSYNCED_LINES:
                    self._unsure_upto = 0
            missing = [entry.line for entry, found in zip(deliveries, ids, strict=True) if found not in known]
            self._append(missing, newest=deliveries[-1].seq)

    def _append(self, lines: Sequence[bytes], *, newest: int) -> None:
        try:
            is_synced = self._lines.append(lines)
        except Exception as error:
            if isinstance(error, UnsyncedError) or not isinstance(error, SinkError):  # or a bug's
                self._doubt(upto=newest)
            raise
        if is_synced and self._is_in_doubt:
            self._doubt(upto=newest)
            return
        self.synced = self.logged if is_synced else self.synced
        self.logged = newest

    def _doubt(self, *, upto: int) -> None:
        """Nobody knows which lines since the last sync stand there: they are looked for."""
        self._behind, self._is_in_doubt = True, False
        self._unsure_upto = max(self._unsure_upto, upto)
        self.logged = self._started_at = self.synced
