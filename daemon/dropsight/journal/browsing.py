"""The journal as people look through it: newest first, or a single record."""

from dropsight.journal.event_messages import message_in
from dropsight.journal.event_table import EventRow
from dropsight.journal.outbox import Delivery
from dropsight.journal.reader import JournalReader, final_line
from dropsight.journal.schema import translated


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

    def events(
        self,
        *,
        name: str | None,
        camera: str | None,
        since: str | None,
        until: str | None,
        before: int,
        limit: int,
    ) -> list[EventRow]:
        """Return events that had a part of that time, the newest first; what is None asks for nothing."""
        asked = {
            "n < ?": before,
            "name = ?": name,
            "camera = ?": camera,
            "(ended IS NULL OR ended >= ?)": since,
            "started <= ?": until,
        }
        conditions = [condition for condition, value in asked.items() if value is not None]
        values = [value for value in asked.values() if value is not None]
        with translated(self.path):
            rows = self._db.execute(
                f"SELECT n, line FROM event WHERE {' AND '.join(conditions)} ORDER BY n DESC LIMIT ?",  # noqa: S608 - ours
                (*values, limit),
            )
            return [EventRow(number, message_in(line)) for number, line in rows]

    def line(self, record_id: str) -> bytes | None:
        """The record of this id, encoded in its final form."""
        with translated(self.path):
            row = self._db.execute("SELECT line, total_ms FROM record WHERE id = ?", (record_id,)).fetchone()
            return None if row is None else final_line(*row)
