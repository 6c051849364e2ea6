"""The journal's tables, how it is connected to, and what becomes of SQLite's errors."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from dropsight.errors import ConfigError, DamagedError, StoreError
from dropsight.files.locks import keep_from_others
from dropsight.names import as_shown

T = TypeVar("T")

VERSION = 1
# Beside a journal that was once found damaged: it is rescued at the next start.
MARK = ".damaged"
SCHEMA = """
CREATE TABLE record (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    path BLOB NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    camera TEXT NOT NULL,
    status TEXT NOT NULL,
    line BLOB NOT NULL,
    total_ms REAL,
    filed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX unfiled ON record (seq) WHERE filed = 0;
CREATE TABLE cursor (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE kept (id TEXT PRIMARY KEY, path BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""


# In the table of records, from the next start on.
_LATER_COLUMNS = {"inode": "INTEGER", "changed_ns": "INTEGER", "digest": "BLOB", "lost": "INTEGER"}
# Journals of before have these from the next start on; dropsights of before do not mind them.
LATER = """
CREATE INDEX IF NOT EXISTS newest ON record (camera, seq) WHERE status = 'ok';
CREATE INDEX IF NOT EXISTS unanswered ON record (seq) WHERE status != 'ok';
CREATE TABLE IF NOT EXISTS shelf (
    place BLOB NOT NULL,
    seq INTEGER NOT NULL,
    name BLOB NOT NULL,
    inode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    filed_at REAL NOT NULL,
    beside BLOB,
    PRIMARY KEY (place, seq, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS shelf_by_name ON shelf (place, name);
CREATE TABLE IF NOT EXISTS event (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    camera TEXT NOT NULL,
    started TEXT NOT NULL,
    ended TEXT,
    count INTEGER NOT NULL,
    line BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_place ON event (camera, name, n);
CREATE INDEX IF NOT EXISTS open_events ON event (n) WHERE ended IS NULL;
CREATE TABLE IF NOT EXISTS event_stream (camera TEXT PRIMARY KEY NOT NULL, state BLOB NOT NULL) STRICT;
"""
# Journals of before may have the states of all cameras in one row, which is newer than rows of their own.
_SPREAD = """
BEGIN;
DELETE FROM event_stream;
INSERT INTO event_stream (camera, state) SELECT key, CAST(value AS BLOB) FROM
    (SELECT CAST(state AS TEXT) AS state FROM event_state),
    json_each(CASE WHEN json_valid(state) THEN state ELSE '{}' END, '$.cameras');
DROP TABLE event_state;
COMMIT;
"""
SHELVE = "INSERT OR REPLACE INTO shelf VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class Shelved(msgspec.Struct, frozen=True):
    """A file that dropsight has put into `place`, and the name of its reason or overlay `beside` it.

    Names are in the file system's own bytes, below the place; `filed_at` is the wall clock's then.
    """

    place: bytes
    seq: int
    name: bytes
    inode: int
    size: int
    mtime_ns: int
    filed_at: float
    beside: bytes | None


_LEAST, _MOST = -(2**63), 2**63 - 1


def storable(number: int) -> int:
    """SQLite's integers have 63 bits and a sign: times end in 1677 and 2262 there, file systems go on."""
    return number if _LEAST <= number <= _MOST else min(max(number, _LEAST), _MOST)


def all_storable(*numbers: int) -> tuple[int, ...]:
    """Return each as `storable` does."""
    if max(numbers) <= _MOST and min(numbers) >= _LEAST:
        return numbers
    return tuple(map(storable, numbers))


_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _is_damage(error: sqlite3.Error, code: int | None) -> bool:
    """SQLite's codes say it; Python gives none where a text is not UTF-8, as only a torn page leaves one."""
    return code in _DAMAGED if code is not None else isinstance(error, sqlite3.OperationalError)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise StoreError; for damage, whoever meets it, DamagedError, and the next start is a rescue."""
    try:
        yield
    except sqlite3.Error as error:
        text = f"{path}: the journal cannot be used: {as_shown(str(error))}"
        extended: int | None = getattr(error, "sqlite_errorcode", None)
        code = None if extended is None else extended & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            text += f"; another program has it open; to find it: fuser -v {path}"
        if not _is_damage(error, code):
            raise StoreError(text) from error
        mark_damaged(path)
        raise DamagedError(text) from error


def typed(path: Path, row: object, kind: type[T]) -> T:
    """Return a row, or rows, as these; raises DamagedError, as `translated` does.

    SQLite looks at types when it writes, not when it reads. What stands in a line is not looked at: it may be
    a newer dropsight's.
    """
    try:
        return msgspec.convert(row, kind)
    except msgspec.ValidationError as error:
        mark_damaged(path)
        raise DamagedError(f"{path}: the journal cannot be used: a row of it has {error}") from error


def open_alone(path: Path) -> sqlite3.Connection:
    """Open a journal for this process and no other, any number of times.

    The index of the write-ahead log then lies on the heap, not in mapped memory that whoever truncates its
    file would turn into the end of the process.
    """
    keep_from_others(path)
    address = f"{path.absolute().as_uri()}?vfs=unix-excl"
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=30, check_same_thread=False)
    db.execute("PRAGMA mmap_size = 0")
    # A journal may be a stranger's backup: what its tables are made of calls nothing but plain functions.
    db.execute("PRAGMA trusted_schema = OFF")
    return db


def connect(path: Path) -> sqlite3.Connection:
    db = open_alone(path)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 512")
        db.execute("PRAGMA cache_size = -1024")
    except sqlite3.Error:
        db.close()
        raise
    return db


def migrate(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if db.execute("SELECT 1 FROM sqlite_schema WHERE type IN ('trigger', 'view')").fetchone():
        raise ConfigError(
            [f"store.path: {path} has triggers or views, so it is no dropsight journal; name another file"]
        )
    if version == VERSION:
        _add_later_columns(db)
        db.executescript(LATER)
        if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'event_state'").fetchone():
            db.executescript(_SPREAD)
        return
    if version > VERSION:
        raise ConfigError(
            [f"store.path: {path} was written by a newer dropsight (version {version}); upgrade this one"]
        )
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'record'").fetchone():
        # As `sqlite3 .dump` and `.recover` write one, perhaps not all of it: a rescue takes what there is.
        mark_damaged(path)
        raise DamagedError(f"{path}: the journal cannot be used: it has records, but no version")
    create_schema(db)


def create_schema(db: sqlite3.Connection) -> None:
    db.executescript(f"BEGIN; {SCHEMA} {LATER} PRAGMA user_version = {VERSION}; COMMIT;")
    _add_later_columns(db)


def _add_later_columns(db: sqlite3.Connection) -> None:
    there = {name for (name,) in db.execute("SELECT name FROM pragma_table_info('record')")}
    for name in _LATER_COLUMNS.keys() - there:
        db.execute(f"ALTER TABLE record ADD COLUMN {name} {_LATER_COLUMNS[name]}")


def mark_damaged(journal: Path) -> None:
    """Have the next start rescue the journal, even if it opens well."""
    with contextlib.suppress(OSError):
        journal.with_name(journal.name + MARK).touch()


def is_marked(journal: Path) -> bool:
    return journal.with_name(journal.name + MARK).exists()
