"""The journal as a follower sees it."""

from dropsight.journal.marks import Mark
from dropsight.journal.outbox import Delivery
from dropsight.journal.reader import JournalReader
from dropsight.journal.recorder import Recorder


class JournalOutbox:
    """Shows no record before it has its final line; acknowledgements go to the journal's one writer."""

    def __init__(self, reader: JournalReader, recorder: Recorder, mark: Mark) -> None:
        self._reader, self._recorder, self._mark = reader, recorder, mark

    def pending(self, after: int, limit: int) -> list[Delivery]:
        visible = self._recorder.visible
        if after >= visible:
            return []
        return [delivery for delivery in self._reader.pending(after, limit) if delivery.seq <= visible]

    def take(self, after: int, limit: int) -> list[Delivery]:
        with self._mark.lock:
            found = self.pending(after, limit)
            self._mark.taken = max(self._mark.taken, *(delivery.seq for delivery in found[-1:]), after)
        return found

    def let_go(self) -> None:
        with self._mark.lock:
            self._mark.taken = 0

    def acknowledge(self, seq: int) -> None:
        self._recorder.acknowledge(self._mark, seq)

    def acknowledged(self) -> int:
        return self._mark.seq
