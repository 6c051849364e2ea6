"""The journal: one SQLite file, one row per record; cursors of log and followers; the ledger of kept files.

A record is durable once `add` returns. Everything else (filed, total, cursors) may be lost in a crash:
it is found out again from the folder, the log and the broker.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from dropsight import crashpoints
from dropsight.errors import DamagedError, DropsightError
from dropsight.files.locks import sole_user
from dropsight.journal.event_table import EventNews
from dropsight.journal.kept_files import KEEP, KEPT_SCHEMA, Kept, KeptChanges
from dropsight.journal.reader import RECORDED_FILES, RecordedFile
from dropsight.journal.rescue import files_of, gone, is_gone, save_open
from dropsight.journal.schema import SHELVE, Shelved, all_storable, connect, migrate, translated, typed
from dropsight.records import Status

_INSERT = (
    "INSERT OR IGNORE INTO record"
    " (id, path, size, mtime_ns, inode, changed_ns, digest, camera, status, line, filed)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

# The first of these is the index's own condition.
UNANSWERED = " AND status != 'ok' AND status != 'burst' AND status != 'event'"
_OF_EVENTS = " AND status != 'ok' AND status = 'event'"
_OF_CAMERA = " AND status = 'ok' AND camera = ?"

# What is still to be filed cannot go, and counts for no bound: others would go in its place, for ever where
# its inbox has left the config.
_FILED = " AND seq NOT IN (SELECT seq FROM record WHERE filed = 0)"

# Where `store.max_records` is lowered, half a million may be too many at once: 15 s on a PC.
MOST_PRUNED = 5_000

# So many records that are still to be filed are in memory at once.
PIECE = 256

# Of cursors, those that are no follower's.
OWN = ("log", "shelf")


class Row(msgspec.Struct, frozen=True):
    """A record on its way into the journal. `path` is the image's, in the file system's own bytes.

    It is empty for a record of no file, with which there is nothing to be filed away.
    """

    id: str
    path: bytes
    size: int
    mtime_ns: int
    camera: str
    status: Status
    line: bytes
    kept: Kept | None = None
    inode: int = 0
    changed_ns: int = 0
    digest: bytes | None = None


class Pruned(NamedTuple):
    """Records that went, how many of them early (failed or expired ones beyond their half), and are to go."""

    all: int
    early: int
    left: int


class UnfitError(DropsightError):
    """A row that the journal cannot hold, whatever the disk is like: its record's fault alone."""


class Journal:
    """Used by the recorder's thread alone; others read through `JournalReader`s of their own.

    Raises InUseError where another daemon has it, StoreError where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as stack, translated(path):
            stack.enter_context(sole_user(path, "store.path"))
            self._db = stack.enter_context(closing(connect(path)))
            migrate(self._db, path)
            self._db.executescript(KEPT_SCHEMA)
            self._files = files_of(path)
            self._open = stack.pop_all()

    def add(self, rows: Sequence[Row], events: EventNews | None = None) -> list[int | None]:
        """Insert and fsync in one transaction; return a seq for each row, None where the id is on record."""
        with self._transaction(synchronous="FULL"):
            seqs = [self._insert(row) for row in rows]
            if events:
                events.write(self._db)
            crashpoints.reach("in_commit")
        return seqs

    def settle(
        self,
        *,
        totals: Sequence[tuple[float, int]],
        filed: Sequence[int],
        cursors: Mapping[str, int],
        shelved: Sequence[Shelved] = (),
        left: Sequence[Kept] = (),
        lost: Mapping[int, bool] = MappingProxyType({}),
    ) -> None:
        """Note totals (milliseconds, seq), what was filed and where, how far the readers are. Not fsynced.

        `lost` says by seq whether the file was gone as it was to be filed.
        """
        with self._transaction(synchronous="NORMAL"):
            self._db.executemany("UPDATE record SET total_ms = ? WHERE seq = ?", totals)
            self._db.executemany("UPDATE record SET filed = 1 WHERE seq = ?", [(seq,) for seq in filed])
            marks = [(is_lost, seq) for seq, is_lost in lost.items()]
            self._db.executemany("UPDATE record SET lost = ? WHERE seq = ?", marks)
            self._db.executemany(SHELVE, map(msgspec.structs.astuple, shelved))
            self._db.executemany(KEEP, map(msgspec.structs.astuple, left))
            self._db.executemany(
                "INSERT INTO cursor VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)",
                list(cursors.items()),
            )

    def has(self, record_id: str) -> bool:
        with translated(self.path):
            found = self._db.execute("SELECT 1 FROM record WHERE id = ?", (record_id,)).fetchone()
        return found is not None

    def newest_line(self) -> bytes:
        """Return the newest record, without a total; empty where there is none."""
        with translated(self.path):
            found = self._db.execute("SELECT line FROM record ORDER BY seq DESC LIMIT 1").fetchone()
        return b"" if found is None else bytes(found[0])

    def unfiled(self) -> Iterator[list[RecordedFile]]:
        """Return what is still to be filed, in pieces, each with all records of its paths, oldest first."""
        with translated(self.path):
            found = self._db.execute(
                "SELECT path, seq FROM record WHERE filed = 0 ORDER BY max(seq) OVER (PARTITION BY path), seq"
            ).fetchall()
        piece: list[int] = []
        for _, rows in groupby(found, key=itemgetter(0)):
            piece += [seq for _, seq in rows]
            if len(piece) >= PIECE:
                yield self._recorded(piece)
                piece = []
        if piece:
            yield self._recorded(piece)

    def _recorded(self, seqs: Sequence[int]) -> list[RecordedFile]:
        with translated(self.path):
            rows = [self._db.execute(f"{RECORDED_FILES} WHERE seq = ?", (seq,)).fetchone() for seq in seqs]
            return typed(self.path, rows, list[RecordedFile])

    def cursor(self, name: str) -> int:
        with translated(self.path):
            row = self._db.execute("SELECT seq FROM cursor WHERE name = ?", (name,)).fetchone()
            return 0 if row is None else int(row[0])

    def start_cursor(self, name: str) -> None:
        """A reader that is new here begins with what comes, not with the history."""
        with translated(self.path):
            self._db.execute(
                "INSERT INTO cursor SELECT ?, coalesce(max(seq), 0) FROM record WHERE true"
                " ON CONFLICT DO NOTHING",
                (name,),
            )

    def follow(self, names: Sequence[str]) -> None:
        """Have a cursor for each of these followers."""
        for name in names:
            self.start_cursor(name)

    def forget_others(self, names: Sequence[str]) -> dict[str, int]:
        """Have no cursor for any other follower; return how many records were still to come to each."""
        known = (*OWN, *names)
        others = f"name NOT IN ({', '.join('?' * len(known))})"
        with translated(self.path):
            rows = self._db.execute(f"SELECT name, seq FROM cursor WHERE {others}", known).fetchall()  # noqa: S608 - ours
            self._db.execute(f"DELETE FROM cursor WHERE {others}", known)  # noqa: S608 - ours
            return {name: self._count("record", seq) for name, seq in rows}

    def prune(self, *, after: int, upto: int, keep: int) -> Pruned:
        """Have no more than `keep` filed records beyond `after`, by deleting some up to `upto`.

        The oldest go first; but those without an answer, what was told of events, and the answers of one
        camera, where any of these is more than half: anybody can have as many of them made as he likes.
        No more than `MOST_PRUNED` go at once: records wait meanwhile.
        """
        with translated(self.path):
            beyond = self._count("record", after) - self._unfiled(after) - keep
            excess = min(beyond, MOST_PRUNED)
            early = self._beyond_half(after, keep, excess, UNANSWERED)
            of_events = self._beyond_half(after, keep, excess - early, _OF_EVENTS)
            camera, of_camera = self._busiest_beyond_half(after, keep, excess - early - of_events)
            gone_early = self._prune(after, upto, early, UNANSWERED)
            # Such as cannot go yet go the next time, and nothing in their place.
            gone = gone_early + self._prune(after, upto, of_events, _OF_EVENTS)
            gone += self._prune(after, upto, of_camera, _OF_CAMERA, camera)
            gone += self._prune(after, upto, excess - early - of_events - of_camera)
            return Pruned(gone, gone_early, left=max(beyond - gone, 0))

    def _beyond_half(self, after: int, keep: int, excess: int, condition: str) -> int:
        if excess <= 0:
            return 0
        found = self._count("record INDEXED BY unanswered", after, condition + _FILED)
        return max(min(excess, found - keep // 2), 0)

    def _busiest_beyond_half(self, after: int, keep: int, excess: int) -> tuple[str, int]:
        """Name the camera with the most answers, and how many of them go before all others'."""
        if excess <= 0:
            return "", 0
        camera, found = self._db.execute(
            "SELECT camera, count(*) AS found FROM record INDEXED BY newest WHERE status = 'ok' AND seq > ?"  # noqa: S608 - ours
            f"{_FILED} GROUP BY camera UNION ALL SELECT '', 0 ORDER BY found DESC LIMIT 1",
            (after,),
        ).fetchone()
        return camera, max(min(excess, found - keep // 2), 0)

    def _count(self, table: str, after: int, condition: str = "") -> int:
        beyond = "" if not after and not condition else f" WHERE seq > {after:d}{condition}"
        return int(self._db.execute(f"SELECT count(*) FROM {table}{beyond}").fetchone()[0])  # noqa: S608 - ours

    def _unfiled(self, after: int) -> int:
        return self._count("record INDEXED BY unfiled", after, " AND filed = 0")

    def _prune(self, after: int, upto: int, most: int, condition: str = "", *values: str) -> int:
        """A batch a transaction."""
        gone = 0
        while most > gone:
            done = self._db.execute(
                "DELETE FROM record WHERE seq IN (SELECT seq FROM record"  # noqa: S608 - ours
                f" WHERE seq > ? AND seq <= ? AND filed = 1{condition} ORDER BY seq LIMIT ?)",
                (after, upto, *values, min(most - gone, 500)),
            )
            crashpoints.reach("in_pruning")
            if not done.rowcount:
                break
            gone += done.rowcount
        return gone

    def note_kept(self, news: KeptChanges) -> None:
        if not news:
            return
        with self._transaction(synchronous="NORMAL"):
            news.write(self._db)

    def save_if_gone(self) -> None:
        """Where somebody took the journal away, save what is open for the next start; raises DamagedError."""
        if any(is_gone(file, known) for file, known in self._files.items()):
            save_open(self._db, self.path)
            raise DamagedError(f"{gone(self.path)}; the next start continues from what was open")

    def close(self) -> None:
        self._open.close()

    def _insert(self, row: Row) -> int | None:
        numbers = all_storable(row.mtime_ns, row.inode, row.changed_ns)
        facts = (row.digest, row.camera, row.status, row.line, not row.path)
        values = (row.id, row.path, row.size, *numbers, *facts)
        try:
            if crashpoints.is_set("in_row"):
                crashpoints.reach_image("in_row", row.path + b" " + row.status.encode())
            done = self._db.execute(_INSERT, values)
        except (OverflowError, ValueError, TypeError) as error:
            raise UnfitError(f"the journal cannot store a value: {error}") from error
        if done.rowcount == 0:
            return None
        if row.kept:
            self._db.execute(KEEP, msgspec.structs.astuple(row.kept))
        return done.lastrowid

    @contextmanager
    def _transaction(self, *, synchronous: Literal["FULL", "NORMAL"]) -> Iterator[None]:
        self.save_if_gone()
        with translated(self.path):
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self.save_if_gone()
