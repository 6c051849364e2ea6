"""What the recorder has taken and not followed up yet: whatever goes wrong in between, none of it is lost."""

import os
from collections import deque
from collections.abc import Sequence

import msgspec

from dropsight.intake.backlog import Backlog
from dropsight.journal.event_messages import message_in
from dropsight.journal.mishaps import EncodedRecord, make
from dropsight.journal.reader import JournalReader
from dropsight.journal.recording import Durable, Outcome, Recorded, RecordedEvent
from dropsight.records import decode
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles


class OutcomesInHand:
    """For the recorder's thread. What of it is on record, the journal says, wherever a bug has struck."""

    def __init__(
        self, reader: JournalReader, backlog: Backlog, *, supervision: Supervision, troubles: Troubles
    ) -> None:
        self._reader, self._backlog = reader, backlog
        self._contained, self._troubles = supervision.contained, troubles
        self._upto = 0
        self._taken: dict[str, Outcome] = {}
        self._made: dict[str, EncodedRecord] = {}

    def begin(self, *, newest: int) -> None:
        """Take from here on, with nothing in hand; `newest` is the last record that was followed up."""
        self._taken, self._made, self._upto = {}, {}, newest

    def take(self, *outcomes: Outcome | None) -> None:
        self._taken |= {outcome.candidate.path: outcome for outcome in outcomes if outcome}

    @property
    def paths(self) -> Sequence[str]:
        return list(self._taken)

    def made(self) -> list[EncodedRecord]:
        """Make the records; of which not even that of a failure can be made, is let go."""
        contained, left = self._contained("recording"), deque(self._taken.items())
        while left:
            with contained:  # a bug is one record's: on with the next
                while left:
                    path, outcome = left.popleft()
                    self._made[path] = make(outcome, self._troubles)
        for path in self._taken.keys() - self._made.keys():
            self.let_go(path)
        return list(self._made.values())

    def holds(self, path: str) -> bool:
        return path in self._taken

    def followed(self, *paths: str) -> None:
        """These are somebody else's now."""
        for path in paths:
            self._taken.pop(path, None)

    def let_go(self, path: str) -> None:
        """Nobody's any more: a walk finds it again."""
        if outcome := self._taken.pop(path, None):
            self._backlog.drop(outcome.candidate)

    def let_all_go(self) -> None:
        for path in list(self._taken):
            self.let_go(path)

    def on_record(self) -> list[Durable]:
        """Find what is durable for all that, and not followed up; raises StoreError."""
        rows = self._reader.since(self._upto) if self._taken else []
        told = self._reader.told_since(self._upto) if rows else []
        found: list[Durable] = [RecordedEvent(each.seq, message_in(each.line), each.line) for each in told]
        found += [
            Recorded(
                row.seq,
                msgspec.structs.replace(self._made[path].finished, record=decode(row.line)),
                row.line,
                0.0,
            )
            for row in rows
            if (path := os.fsdecode(row.path)) in self._taken
        ]
        return sorted(found, key=lambda entry: entry.seq)
