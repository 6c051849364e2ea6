"""The journal as people look through it: newest first, or a single record."""

from dropsight.journal.outbox import Delivery
from dropsight.journal.schema import translated
from dropsight.journal.store import JournalReader, final_line


class JournalBrowser(JournalReader):
    """A reading connection, for one thread."""

    def before(self, seq: int, limit: int) -> list[Delivery]:
        """Records with an earlier seq, the newest of them first; what is told of events is none."""
        with translated(self.path):
            rows = self._db.execute(
                "SELECT seq, camera, status, line, total_ms FROM record WHERE seq < ? AND status != 'event'"
                " ORDER BY seq DESC LIMIT ?",
                (seq, limit),
            )
            return [
                Delivery(number, camera, status, final_line(line, total))
                for number, camera, status, line, total in rows
            ]

    def line(self, record_id: str) -> bytes | None:
        """The record of this id, encoded in its final form."""
        with translated(self.path):
            row = self._db.execute("SELECT line, total_ms FROM record WHERE id = ?", (record_id,)).fetchone()
            return None if row is None else final_line(*row)
