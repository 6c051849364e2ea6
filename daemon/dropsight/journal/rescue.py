"""A damaged journal is set aside, and what is still readable goes into a new one."""

import contextlib
import glob
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dropsight import crashpoints
from dropsight.errors import StoreError
from dropsight.files.disk import sync_folder
from dropsight.files.locks import keep_from_others
from dropsight.journal.kept_files import KEEP, KEPT_SCHEMA
from dropsight.journal.schema import MARK, SHELVE, create_schema, is_marked, open_alone

log = logging.getLogger(__name__)

# Without its cursor, the log is compared with this many of the newest records.
UNSURE_RECORDS = 200
_OTHERS = {
    "SELECT id, path FROM kept": "INSERT OR IGNORE INTO kept VALUES (?, ?)",
    "SELECT * FROM ledger": KEEP,
    "SELECT * FROM shelf": SHELVE,
    "SELECT * FROM event": "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    "SELECT camera, state FROM event_stream": "INSERT OR IGNORE INTO event_stream VALUES (?, ?)",
    # What was filed and cannot be read here is looked for once more.
    "SELECT name, seq FROM cursor WHERE name != 'shelf'": "INSERT OR IGNORE INTO cursor VALUES (?, ?)",
}
# Of the newer of two journals, beside its records and cursors.
_NEWER = {
    "SELECT id, path FROM kept": "INSERT OR IGNORE INTO kept VALUES (?, ?)",
    "SELECT * FROM ledger": KEEP,
    "SELECT id, name, camera, started, ended, count, line FROM event ORDER BY n": (
        "INSERT OR IGNORE INTO event (id, name, camera, started, ended, count, line)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
    ),
    "SELECT camera, state FROM event_stream": "INSERT OR REPLACE INTO event_stream VALUES (?, ?)",
}
_RESCUED = ".rescued"
DAMAGED_KEPT = 3


def gone(journal: Path) -> str:
    return f"{journal}: the journal was deleted, moved or replaced while it was in use"


def needs_rescue(journal: Path) -> bool:
    """Whether damage was found, or a rescue came to no end; raises StoreError where that cannot be told."""
    try:
        return is_marked(journal) or journal.with_name(journal.name + _RESCUED).exists()
    except OSError as error:
        raise StoreError(f"{journal} cannot be looked at: {error.strerror}") from error


def rescue(journal: Path, *, followers: Sequence[str] = ()) -> None:
    """Replace the journal by a new one; raises StoreError where there is no room for it.

    Killed at any instant, the next call goes on: once there is a whole new journal, the damaged one is
    no longer read. `followers` whose place cannot be read get all that was saved once more.

    Where an open journal was saved and one with records of its own lies there, as on a disk that was mounted
    late, the new one has the records of both.
    """
    fresh = journal.with_name(journal.name + _RESCUED)
    try:
        if not fresh.exists():
            _make_fresh(journal, fresh, followers)
        elif _has_others(journal, fresh):
            _join(journal, fresh)
        aside = _set_aside(journal)
        crashpoints.reach("in_rescue")
        os.rename(fresh, journal)
        journal.with_name(journal.name + MARK).unlink(missing_ok=True)
        sync_folder(journal.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{journal} is damaged, and no new one can be written: {error}") from error
    text = f"{journal} was damaged or deleted: a new one continues from what was saved"
    log.error("%s; the other one is %s", text, aside) if aside.exists() else log.error("%s", text)
    _forget_the_oldest(journal)


def save_open(db: sqlite3.Connection, journal: Path) -> None:
    """Copy a journal that is open and no longer under its name, for the next start to go on with.

    Raises StoreError where there is no room for it.
    """
    fresh = journal.with_name(journal.name + _RESCUED)
    part = fresh.with_name(fresh.name + ".part")
    try:
        if fresh.exists():  # saved already
            return
        fresh.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        keep_from_others(part)
        with contextlib.closing(sqlite3.connect(part)) as copy:
            db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        os.rename(part, fresh)
        sync_folder(fresh.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{gone(journal)}, and what it held cannot be saved yet: {error}") from error


def _make_fresh(journal: Path, fresh: Path, followers: Sequence[str]) -> None:
    part = fresh.with_name(fresh.name + ".part")
    part.unlink(missing_ok=True)
    saved = _copy_what_is_readable(journal, part, followers)
    log.warning("%s: %d records can be read", journal, saved)
    os.rename(part, fresh)
    sync_folder(fresh.parent)


def _has_others(journal: Path, saved: Path) -> bool:
    """Whether a journal lies there whose newest record the saved one lacks."""
    if not journal.exists():
        return False
    try:
        there = open_alone(journal)
    except (OSError, sqlite3.Error):  # closed to us, or no file: it is set aside, as the saved one is whole
        return False
    with contextlib.closing(there), contextlib.closing(open_alone(saved)) as open_last:
        there.set_authorizer(_no_views)
        newest = next(iter(_readable(there, "SELECT id FROM record ORDER BY seq DESC LIMIT 1")), None)
        found = newest and open_last.execute("SELECT 1 FROM record WHERE id = ?", newest).fetchone()
    return newest is not None and found is None


def _join(journal: Path, saved: Path) -> None:
    """Have the saved records follow those of the journal that lies there, in place of the saved journal."""
    part = saved.with_name(saved.name + ".part")
    part.unlink(missing_ok=True)
    found = _copy_what_is_readable(journal, part, ())
    with contextlib.closing(open_alone(saved)) as newer, contextlib.closing(open_alone(part)) as new:
        added = _append(newer, new)
    log.warning("%s: a journal of %d records was there, which %d of the other follow", journal, found, added)
    os.rename(part, saved)
    sync_folder(saved.parent)


def _append(newer: sqlite3.Connection, new: sqlite3.Connection) -> int:
    """Add what is not there; who had all that was there goes on from where he was in what follows."""
    names = ", ".join(sorted((_columns(newer) & _columns(new)) - {"seq"}))
    insert = f"INSERT OR IGNORE INTO record ({names}) VALUES ({', '.join('?' * (names.count(',') + 1))})"  # noqa: S608 - ours
    cursors = dict(newer.execute("SELECT name, seq FROM cursor WHERE name != 'shelf'"))
    new.execute("BEGIN")
    (last,) = new.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()
    end, places = last, dict.fromkeys(cursors, last)
    for seq, *row in newer.execute(f"SELECT seq, {names} FROM record ORDER BY seq"):  # noqa: S608 - ours
        end += new.execute(insert, row).rowcount
        places |= {name: end for name, upto in cursors.items() if seq <= upto}
    new.executemany(
        "INSERT INTO cursor VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE seq >= ?",
        [(name, place, last) for name, place in places.items()],
    )
    for query, statement in _NEWER.items():
        for row in _readable(newer, query):
            _save(new, statement, row)
    new.execute("COMMIT")
    return int(end - last)


def _set_aside(journal: Path) -> Path:
    """The main file last: without it the other says nothing, with it a new one would be damaged."""
    aside = journal.with_name(f"{journal.name}{MARK}-{time.strftime('%Y%m%dT%H%M%S')}")
    for suffix in ("-wal", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{journal}{suffix}", f"{aside}{suffix}")
    return aside


def _forget_the_oldest(journal: Path) -> None:
    """A failing disk damages one after the other."""
    kept = sorted(
        path
        for path in journal.parent.glob(f"{glob.escape(journal.name)}{MARK}-*")
        if not path.name.endswith(("-wal", "-shm"))
    )
    for path in kept[:-DAMAGED_KEPT]:
        for suffix in ("-shm", "-wal", ""):
            with contextlib.suppress(OSError):
                os.unlink(f"{path}{suffix}")


def _copy_what_is_readable(damaged: Path, fresh: Path, followers: Sequence[str]) -> int:
    with (
        contextlib.closing(open_alone(damaged)) as old,
        contextlib.closing(open_alone(fresh)) as new,
    ):
        old.set_authorizer(_no_views)
        create_schema(new)
        new.executescript(KEPT_SCHEMA)
        new.execute("BEGIN")
        names = sorted(_columns(old) & _columns(new))
        insert = f"INSERT OR IGNORE INTO record ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - ours
        for row in _records(old, ", ".join(names)):
            _save(new, insert, row)
        for query, statement in _OTHERS.items():
            for row in _readable(old, query):
                _save(new, statement, row)
        lowest, newest, saved = new.execute("SELECT min(seq), max(seq), count(*) FROM record").fetchone()
        if saved:
            guesses = dict.fromkeys(followers, lowest - 1)
            guesses["log"] = max(newest - UNSURE_RECORDS, lowest - 1)
            new.executemany("INSERT OR IGNORE INTO cursor VALUES (?, ?)", guesses.items())
        # The next record is numbered after the newest that was saved: no cursor may stand beyond it.
        new.execute("UPDATE cursor SET seq = min(seq, ?)", (newest or 0,))
        new.execute("COMMIT")
    return int(saved)


def _save(new: sqlite3.Connection, statement: str, row: tuple[object, ...]) -> None:
    """Leave out a row of the wrong types: a torn page may have any."""
    with contextlib.suppress(sqlite3.IntegrityError):
        new.execute(statement, row)


def _no_views(_: int, __: str | None, ___: str | None, ____: str | None, within: str | None) -> int:
    """Refuse what a view or a trigger does: no journal of ours has one, and it may have no end."""
    return sqlite3.SQLITE_DENY if within else sqlite3.SQLITE_OK


def _columns(db: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in _readable(db, "SELECT name FROM pragma_table_info('record')")}


def _records(old: sqlite3.Connection, names: str) -> Iterator[tuple[object, ...]]:
    """From the front to the damage, then from the back to it."""
    yield from _readable(old, f"SELECT {names} FROM record NOT INDEXED ORDER BY seq")  # noqa: S608 - ours
    yield from _readable(old, f"SELECT {names} FROM record NOT INDEXED ORDER BY seq DESC")  # noqa: S608


def _readable(db: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...]]:
    """Yield rows up to what is damaged; a text that is not UTF-8 comes as bytes."""
    db.text_factory = _text
    with contextlib.suppress(sqlite3.DatabaseError):
        yield from db.execute(query)


def _text(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def files_of(journal: Path) -> dict[str, tuple[int, int]]:
    """Name the files that SQLite has open by now, with device and inode."""
    names = [name for suffix in ("", "-wal", "-shm") if os.path.exists(name := f"{journal}{suffix}")]
    return {name: _identity(os.stat(name)) for name in names}


def is_gone(file: str, known: tuple[int, int]) -> bool:
    try:
        return _identity(os.stat(file)) != known
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a disk that does not answer says nothing of it
        return False


def _identity(found: os.stat_result) -> tuple[int, int]:
    return (found.st_dev, found.st_ino)
