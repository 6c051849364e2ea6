"""Records of no file of their own, which others conclude from the records of images."""

import time
from collections import deque
from collections.abc import Callable

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.journal.mishaps import tell_unless_damaged
from dropsight.journal.recording import RecordedBurst
from dropsight.journal.store import Journal, Row
from dropsight.records import Result, encode, status_of, with_total
from dropsight.status.troubles import Troubles


class Conclusions:
    """For the recorder's thread, but for `put`. Whoever put one puts it again after a crash."""

    def __init__(self, store: Journal, troubles: Troubles, *, nudge: Callable[[], None]) -> None:
        self._store, self._troubles, self._nudge = store, troubles, nudge
        self._waiting: deque[tuple[Result, float]] = deque()

    @property
    def at_rest(self) -> bool:
        return not self._waiting

    def put(self, record: Result) -> None:
        """From any thread."""
        self._waiting.append((record, time.monotonic()))
        self._nudge()

    def commit(self) -> list[RecordedBurst]:
        """Have what was put on disk, and return what is new there; on a full disk it goes on waiting.

        What a bug strikes here is put again in another life: it is nowhere but in the memory of who put it.
        """
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not waiting:
            return []
        lines = [encode(record) for record, _ in waiting]
        crashpoints.reach("before_conclusion")
        try:
            seqs = self._store.add(list(map(_row, (record for record, _ in waiting), lines)))
        except StoreError as error:
            self._waiting.extendleft(reversed(waiting))
            tell_unless_damaged(error, self._troubles)
            return []
        crashpoints.reach("after_conclusion")
        return [
            _concluded(seq, record, line, since)
            for seq, (record, since), line in zip(seqs, waiting, lines, strict=True)
            if seq is not None
        ]


def _row(record: Result, line: bytes) -> Row:
    return Row(record.id, b"", 0, 0, record.camera, status_of(record), line)


def _concluded(seq: int, record: Result, line: bytes, since: float) -> RecordedBurst:
    total_ms = (time.monotonic() - since) * 1e3
    return RecordedBurst(seq, record, with_total(line, total_ms), total_ms)
