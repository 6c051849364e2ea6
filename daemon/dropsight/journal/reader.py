"""Reading the journal, from any thread, each by a connection of its own."""

import os
from pathlib import Path
from typing import cast

import msgspec

from dropsight.journal.outbox import Delivery
from dropsight.journal.schema import connect, storable, translated, typed
from dropsight.records import Status, with_total

# Of any status: a newer dropsight's journal may have others.
_DELIVERIES = list[tuple[int, str, str, bytes, float | None]]
RECORDED_FILES = "SELECT seq, path, size, mtime_ns, line, inode, changed_ns, digest FROM record"


class RecordedFile(msgspec.Struct, frozen=True, array_like=True):
    """A record, and by which file it was made; the journal's row."""

    seq: int
    path: bytes
    size: int
    mtime_ns: int
    line: bytes
    inode: int | None
    changed_ns: int | None
    digest: bytes | None
    """Of its content, where size and time do not tell."""

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether the record was made from this file, by size and time."""
        return (stat.st_size, storable(stat.st_mtime_ns)) == (self.size, self.mtime_ns)

    def is_of_the_very(self, stat: os.stat_result) -> bool:
        """Whether it is the file itself, neither copied nor renamed since: as before a rename undone."""
        return (storable(stat.st_ino), storable(stat.st_ctime_ns)) == (self.inode, self.changed_ns)

    def is_untouched_at(self, path: str, stat: os.stat_result) -> bool:
        there = self.changed_ns in (None, storable(stat.st_ctime_ns))
        return there and os.fsencode(path) == self.path


def is_another(read: bytes | None, recorded: bytes | None) -> bool:
    """Whether the contents tell two pictures apart that have one size and time, as of whole seconds."""
    return read is not None and recorded is not None and read != recorded


class JournalReader:
    """A reading connection, for one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with translated(path):
            self._db = connect(path)

    def keeps_other_content(self, path: bytes, digest: bytes | None) -> bool:
        """Whether what stays there is known by another content."""
        with translated(self.path):
            row = self._db.execute("SELECT digest FROM ledger WHERE path = ?", (path,)).fetchone()
        return row is not None and row[0] not in {None, digest}

    def is_left(self, row: RecordedFile) -> bool:
        """Whether nobody has filed it: it stays in its folder, or was gone as it was to be filed."""
        with translated(self.path):
            found = self._db.execute(
                "SELECT 1 FROM record WHERE seq = ? AND lost = 1 UNION SELECT 1 FROM ledger WHERE path = ?",
                (row.seq, row.path),
            )
            return found.fetchone() is not None

    def pending(self, after: int, limit: int, *, events: bool = True) -> list[Delivery]:
        """Durable records with seq > after, in order, what is told of events among them or not."""
        only = "" if events else " AND status != 'event'"
        with translated(self.path):
            rows = self._db.execute(
                f"SELECT seq, camera, status, line, total_ms FROM record WHERE seq > ?{only}"  # noqa: S608 - ours
                " ORDER BY seq LIMIT ?",
                (after, limit),
            ).fetchall()
            return [
                Delivery(seq, camera, cast(Status, status), final_line(line, total))
                for seq, camera, status, line, total in typed(self.path, rows, _DELIVERIES)
            ]

    def find(self, record_id: str) -> RecordedFile | None:
        with translated(self.path):
            row = self._db.execute(f"{RECORDED_FILES} WHERE id = ?", (record_id,)).fetchone()
            return None if row is None else typed(self.path, row, RecordedFile)

    def at(self, seq: int) -> RecordedFile | None:
        with translated(self.path):
            row = self._db.execute(f"{RECORDED_FILES} WHERE seq = ?", (seq,)).fetchone()
            return None if row is None else typed(self.path, row, RecordedFile)

    def lie_nowhere(self, *, of: int) -> list[tuple[int, int, int, int, int, bytes | None]]:
        """Name those `of` so many newest records whose files lie where nobody has filed them.

        By seq, whether (1) the file was gone as it was to be filed, inode, size, time and digest; what was
        deleted or stays in its folder is among them. Of what was gone, the shelf may have a picture just like
        it, which was filed by its name.
        """
        with translated(self.path):
            rows = self._db.execute(
                "SELECT seq, lost IS 1, inode, size, mtime_ns, digest FROM record"
                " WHERE seq > (SELECT max(seq) FROM record) - ? AND filed = 1 AND inode NOTNULL"
                " AND (lost = 1 OR seq NOT IN (SELECT seq FROM shelf)) ORDER BY seq",
                (of,),
            ).fetchall()
            return typed(self.path, rows, list[tuple[int, int, int, int, int, bytes | None]])

    def since(self, seq: int) -> list[RecordedFile]:
        """Return what was recorded after this one, in order."""
        with translated(self.path):
            rows = self._db.execute(f"{RECORDED_FILES} WHERE seq > ? ORDER BY seq", (seq,)).fetchall()
            return typed(self.path, rows, list[RecordedFile])

    def told_since(self, seq: int) -> list[Delivery]:
        """Return the messages of events with a later seq, in order."""
        with translated(self.path):
            rows = self._db.execute(
                "SELECT seq, camera, status, line FROM record WHERE seq > ? AND status = 'event'"
                " ORDER BY seq",
                (seq,),
            )
            return [Delivery(*row) for row in rows]

    def newest(self) -> int:
        with translated(self.path):
            row = self._db.execute("SELECT max(seq) FROM record").fetchone()
            return int(row[0] or 0)

    def oldest(self, *, after: int) -> int:
        """Return the first seq beyond this one, the next one's where there is none yet."""
        with translated(self.path):
            row = self._db.execute("SELECT min(seq) FROM record WHERE seq > ?", (after,)).fetchone()
            return int(row[0] or after + 1)

    def latest(self, camera: str) -> bytes | None:
        """Return the newest answer for this camera, at the cost of a look into an index."""
        with translated(self.path):
            row = self._db.execute(
                "SELECT line, total_ms FROM record WHERE camera = ? AND status = 'ok'"
                " ORDER BY seq DESC LIMIT 1",
                (camera,),
            ).fetchone()
            return None if row is None else final_line(*row)

    def close(self) -> None:
        self._db.close()


def final_line(line: bytes, total_ms: float | None) -> bytes:
    return line if total_ms is None else with_total(line, total_ms)
