"""What is known of the files of folders with `after: keep`: by place, size and time, by content in doubt."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dropsight.intake.candidate import COARSEST_NS, YOUNG_SECONDS, digest_of_open
from dropsight.intake.folder import DropFolder
from dropsight.journal.schema import connect, storable, translated

BATCH = 500
# A record knows its file by device, path, size and time; here neither a new host name nor another folder with
# the same names in it makes or hides a new image.
KEPT_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (
    path BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    changed_ns INTEGER,
    digest BLOB
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS missed (path BLOB PRIMARY KEY, since REAL NOT NULL) STRICT, WITHOUT ROWID;
INSERT OR REPLACE INTO ledger
    SELECT record.path, size, mtime_ns, changed_ns, NULL FROM kept JOIN record USING (id) ORDER BY seq;
DELETE FROM kept WHERE id IN (SELECT id FROM record);
"""
KEEP = "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?)"

# Whose time of change no file has that keeps whole seconds: only the content tells whether it is known.
_IN_DOUBT = -1

# To which disks and archives cut a time, in nanoseconds: NTFS and SMB, UDF, exFAT, tar and many others, FAT.
_GRAINS_NS = 100, 10**3, 10**7, 10**9, COARSEST_NS
# FAT keeps local times: in another time zone all of them are others, by quarters of an hour.
_QUARTER_NS, _MOST_APART_NS = 900 * 10**9, 26 * 3_600 * 10**9

_AT = "SELECT path, size, mtime_ns, changed_ns, digest FROM ledger WHERE path = ?"


class Kept(msgspec.Struct, frozen=True):
    """A file on record that stays where it is, in the file system's own bytes.

    `changed_ns` is the time of its latest change of any kind, None where an earlier version recorded it, and
    one that no file has where another change may have had the same; `digest` is of its content, None where
    that was not read.
    """

    path: bytes
    size: int
    mtime_ns: int
    changed_ns: int | None
    digest: bytes | None

    @classmethod
    def of(
        cls, path: str, stat: os.stat_result, digest: bytes | None, *, read_ns: int | None = None
    ) -> "Kept":
        """`read_ns` is a time before its content was read; None: nobody knows."""
        changed_ns = stat.st_ctime_ns
        is_coarse = digest is not None and changed_ns % 10**9 == 0
        if is_coarse and (read_ns is None or 0 <= read_ns - changed_ns < COARSEST_NS):
            changed_ns = _IN_DOUBT
        times = storable(stat.st_mtime_ns), storable(changed_ns)
        return cls(os.fsencode(path), stat.st_size, *times, digest)

    def as_recorded(self, stat: os.stat_result) -> bool:
        """Whether size and time are these, or as a copy elsewhere has them."""
        mtime_ns = storable(stat.st_mtime_ns)
        has_its_time = mtime_ns == self.mtime_ns or is_cut(mtime_ns, of=self.mtime_ns)
        return self.size == stat.st_size and (has_its_time or self.is_shifted(stat))

    def is_shifted(self, stat: os.stat_result) -> bool:
        """Whether its time may be that of a file on FAT, looked at in another time zone."""
        apart = abs(storable(stat.st_mtime_ns) - self.mtime_ns)
        is_coarse = self.mtime_ns % COARSEST_NS == 0
        return is_coarse and 0 < apart <= _MOST_APART_NS and apart % _QUARTER_NS == 0

    def may_have_its_time_set(self, stat: os.stat_result) -> bool:
        """Whether just its time may have been set since, as uploaders do once they have closed it (MFMT).

        Who writes it anew leaves the time of that: but for who sets that too, it is the time of the change.
        """
        changed_ns = storable(stat.st_ctime_ns)
        if self.digest is None or self.changed_ns is None or self.size != stat.st_size:
            return False
        is_soon = 0 < changed_ns - self.changed_ns < YOUNG_SECONDS * 10**9
        is_set = has_time_set(storable(stat.st_mtime_ns), changed_ns, before=self.mtime_ns)
        return is_set and (is_soon or tells_no_change(stat))

    def untouched(self, stat: os.stat_result) -> bool:
        """Whether not even the content can be another: whoever sets a file's time back changes this one."""
        has_its_time = self.mtime_ns == storable(stat.st_mtime_ns)
        return has_its_time and self.changed_ns in (None, storable(stat.st_ctime_ns))


def has_time_set(mtime_ns: int, changed_ns: int, *, before: int) -> bool:
    """Whether a file's time may have been set to this at its latest change, and was another `before`.

    Whoever writes a file leaves the time of that: later than before, and no later than that of its change,
    which a `chmod`, or FAT, has by two seconds later. Of fresh pictures Syncthing sets it back by less.
    """
    if mtime_ns < before or mtime_ns > changed_ns:
        return True
    is_whole = mtime_ns % 10**9 == 0 and changed_ns % 10**9 > 0
    return is_whole or changed_ns - mtime_ns > COARSEST_NS


def tells_no_change(stat: os.stat_result) -> bool:
    """Whether its time of change is just the other one, as always on exFAT by FUSE."""
    return stat.st_ctime_ns == stat.st_mtime_ns


def is_cut(time_ns: int, *, of: int) -> bool:
    """Whether a copy may have this time for that one."""
    return any(time_ns == of - of % grain for grain in _GRAINS_NS)


class KeptReader:
    """A reading connection, for one thread. Raises StoreError."""

    def __init__(self, journal: Path) -> None:
        self._path = journal
        with translated(journal):
            self._db = connect(journal)

    def at(self, path: str) -> Kept | None:
        try:
            row = self._db.execute(_AT, (os.fsencode(path),)).fetchone()
        except sqlite3.Error:  # walks ask for each file: what costs nothing where nothing is wrong
            with translated(self._path):
                raise
        return None if row is None else Kept(*row)

    def all(self) -> Iterator[Kept]:
        """One batch per query: whoever looks at each file holds up no checkpoint."""
        query, last = "SELECT * FROM ledger WHERE path > ? ORDER BY path LIMIT ?", b""
        while batch := [Kept(*row) for row in self._batch(query, last)]:
            yield from batch
            last = batch[-1].path

    def missed(self) -> Iterator[bytes]:
        """What was not there at the latest look."""
        query, last = "SELECT path FROM missed WHERE path > ? ORDER BY path LIMIT ?", b""
        while batch := [path for (path,) in self._batch(query, last)]:
            yield from batch
            last = batch[-1]

    def missed_since(self, path: bytes) -> float | None:
        """By the wall clock of then."""
        row = self._one("SELECT since FROM missed WHERE path = ?", path)
        return row[0] if row else None

    def count_missed(self) -> int:
        found = self._one("SELECT count(*) FROM missed")
        return found[0] if found else 0

    def former(self) -> Iterator[tuple[str, bytes]]:
        """What an earlier version recorded: the id, which depends on the device's name, and the path."""
        query, last = "SELECT id, path FROM kept WHERE id > ? ORDER BY id LIMIT ?", ""
        while batch := [(record_id, path) for record_id, path in self._batch(query, last)]:
            yield from batch
            last = batch[-1][0]

    def is_former(self, record_id: str) -> bool:
        with translated(self._path):
            return self._db.execute("SELECT 1 FROM kept WHERE id = ?", (record_id,)).fetchone() is not None

    def _one(self, query: str, *values: bytes) -> tuple[Any, ...] | None:
        with translated(self._path):
            found: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return found

    def _batch(self, query: str, last: str | bytes) -> Sequence[Sequence[Any]]:
        with translated(self._path):
            return self._db.execute(query, (last, BATCH)).fetchall()

    def close(self) -> None:
        self._db.close()


class KeptChanges(msgspec.Struct):
    """What the journal has yet to hear: files that are known, paths and former ids that nobody asks for.

    `missed` are not there, and since when; `back` are no longer missed.
    """

    known: list[Kept] = []
    missed: list[tuple[bytes, float]] = []
    back: list[bytes] = []
    gone: list[bytes] = []
    former: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.known or self.missed or self.back or self.gone or self.former)

    @classmethod
    def merged(cls, several: Sequence["KeptChanges"]) -> "KeptChanges":
        return cls(
            known=[kept for news in several for kept in news.known],
            missed=[path for news in several for path in news.missed],
            back=[path for news in several for path in news.back],
            gone=[path for news in several for path in news.gone],
            former=[record_id for news in several for record_id in news.former],
        )

    def write(self, db: sqlite3.Connection) -> None:
        db.executemany("INSERT OR IGNORE INTO missed VALUES (?, ?)", self.missed)
        db.executemany("DELETE FROM missed WHERE path = ?", [(path,) for path in (*self.back, *self.gone)])
        db.executemany("DELETE FROM ledger WHERE path = ?", [(path,) for path in self.gone])
        db.executemany(KEEP, map(msgspec.structs.astuple, self.known))
        db.executemany("DELETE FROM kept WHERE id = ?", [(record_id,) for record_id in self.former])


def digest_of_file(folder: DropFolder, path: str, *, gets_on: Callable[[], None]) -> bytes:
    """As `digest_of_open`; raises OSError, ImageError or MachineError."""
    with folder.open_image(path) as image:
        return digest_of_open(image.fd, gets_on=gets_on)
