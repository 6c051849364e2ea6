"""A damaged journal is set aside, and what can still be read of it goes into a new one."""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from dropsight.errors import StoreError
from dropsight.service.store import create_schema

log = logging.getLogger(__name__)

# Without its cursor, the log is compared with this many of the newest records.
UNSURE_RECORDS = 200
_MARK = ".damaged"
_FILES = ("", "-wal", "-shm")


def mark_damaged(journal: Path) -> None:
    """Have the next start rescue the journal, even if it opens well."""
    with contextlib.suppress(OSError):
        journal.with_name(journal.name + _MARK).touch()


def is_marked(journal: Path) -> bool:
    return journal.with_name(journal.name + _MARK).exists()


def rescue(journal: Path) -> None:
    """Replace the journal by a new one; raises StoreError where there is no room for it."""
    aside = journal.with_name(f"{journal.name}{_MARK}-{time.strftime('%Y%m%dT%H%M%S')}")
    fresh = journal.with_name(journal.name + ".rescued")
    try:
        fresh.unlink(missing_ok=True)
        saved = _copy_what_is_readable(journal, fresh)
        for suffix in _FILES:
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{journal}{suffix}", f"{aside}{suffix}")
        os.rename(fresh, journal)
        journal.with_name(journal.name + _MARK).unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{journal} is damaged, and no new one can be written: {error}") from error
    log.error("%s was damaged: %d records saved from it; the damaged one is %s", journal, saved, aside)


def _copy_what_is_readable(damaged: Path, fresh: Path) -> int:
    with (
        contextlib.closing(sqlite3.connect(damaged, isolation_level=None)) as old,
        contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as new,
    ):
        create_schema(new)
        new.execute("BEGIN")
        for row in _records(old):
            new.execute("INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        for row in _readable(old, "SELECT id, path FROM kept"):
            new.execute("INSERT OR IGNORE INTO kept VALUES (?, ?)", row)
        for row in _readable(old, "SELECT name, seq FROM cursor"):
            new.execute("INSERT OR IGNORE INTO cursor VALUES (?, ?)", row)
        lowest, newest, saved = new.execute("SELECT min(seq), max(seq), count(*) FROM record").fetchone()
        if saved:
            guesses = {"log": max(newest - UNSURE_RECORDS, lowest - 1), "mqtt": lowest - 1}
            new.executemany("INSERT OR IGNORE INTO cursor VALUES (?, ?)", guesses.items())
        new.execute("COMMIT")
    return int(saved)


def _records(old: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    """From the front to the damage, then from the back to it."""
    columns = "seq, id, path, size, mtime_ns, camera, status, line, total_ms, filed"
    yield from _readable(old, f"SELECT {columns} FROM record NOT INDEXED ORDER BY seq")  # noqa: S608 - ours
    yield from _readable(old, f"SELECT {columns} FROM record NOT INDEXED ORDER BY seq DESC")  # noqa: S608


def _readable(db: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...]]:
    with contextlib.suppress(sqlite3.DatabaseError):
        yield from db.execute(query)
