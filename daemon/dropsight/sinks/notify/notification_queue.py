"""What is still to be told, by target, and when something was: kept over restarts and losses of power."""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dropsight.errors import StoreError
from dropsight.files.locks import keep_from_others
from dropsight.journal.event_messages import EventMessage, encode_message, message_in
from dropsight.sinks.notify.allowance import KNOWN, KNOWN_SECONDS, SECONDS, Sent, ToldSource

log = logging.getLogger(__name__)

FILE = "notifications.db"
# Of one target: rules that tell more than this in a day tell nothing.
MOST = 10_000
_TABLES = """
CREATE TABLE IF NOT EXISTS waiting (
    n INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    id TEXT NOT NULL,
    line BLOB NOT NULL,
    tried_seconds REAL NOT NULL DEFAULT 0,
    inbox TEXT NOT NULL DEFAULT '',
    UNIQUE (target, id)
) STRICT;
CREATE TABLE IF NOT EXISTS told (
    n INTEGER PRIMARY KEY, at REAL NOT NULL, camera TEXT NOT NULL, inbox TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS sent (at REAL NOT NULL) STRICT;
"""
# Of older dropsights, one has no inboxes, one wrote into `sent`; so they do again after a step back.
_INBOX = "ALTER TABLE {} ADD COLUMN inbox TEXT NOT NULL DEFAULT ''"
_FORGET = """
DELETE FROM told WHERE at <= ?1 AND n NOT IN (
    SELECT n FROM (
        SELECT n, max(at) AS latest FROM told WHERE camera != '' GROUP BY inbox, camera
        ORDER BY latest DESC LIMIT ?2
    )
)
"""
# Of whom most wait, so that nobody has those of another inbox given up.
_GIVE_UP = """
DELETE FROM waiting WHERE n IN (
    SELECT n FROM waiting WHERE target = ?1 AND inbox = (
        SELECT inbox FROM waiting WHERE target = ?1 GROUP BY inbox ORDER BY count(*) DESC LIMIT 1
    ) ORDER BY n LIMIT ?2
)
"""
_COUNT = "SELECT count(*) FROM waiting WHERE target = ?"


class QueuedMessage(NamedTuple):
    n: int
    message: EventMessage
    inbox: str = ""

    @property
    def source(self) -> ToldSource:
        return ToldSource(self.inbox, self.message.camera)


class NotificationQueue:
    """Thread-safe; durable once a method returns. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        with _translated(path):
            try:
                self._db = _opened(path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                aside = path.with_name(f"{path.name}.damaged")
                path.replace(aside)
                log.warning(
                    "%s is damaged (%s): notifications that were waiting are in %s", path, error, aside
                )
                self._db = _opened(path)

    def add(self, target: str, messages: Iterable[EventMessage], inboxes: Iterable[str]) -> int:
        """Return how many went for these, beyond the bound; what is there already stays as it is."""
        rows = [
            (target, message.message_id, encode_message(message), inbox)
            for message, inbox in zip(messages, inboxes, strict=True)
        ]
        with self._transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO waiting (target, id, line, inbox) VALUES (?, ?, ?, ?)", rows
            )
            gone = 0
            while (beyond := int(db.execute(_COUNT, (target,)).fetchone()[0]) - MOST) > 0:
                gone += db.execute(_GIVE_UP, (target, beyond)).rowcount
            return gone

    def waiting(
        self, target: str, most: int, *, wanted: Callable[[QueuedMessage], bool] = lambda _: True
    ) -> list[QueuedMessage]:
        """The oldest first."""
        with self._transaction() as db:
            rows = db.execute("SELECT n, line, inbox FROM waiting WHERE target = ? ORDER BY n", (target,))
            held = (QueuedMessage(n, message_in(line), inbox) for n, line, inbox in rows)
            return list(islice(filter(wanted, held), most))

    def count(self, target: str) -> int:
        with self._transaction() as db:
            return int(db.execute(_COUNT, (target,)).fetchone()[0])

    def told(self, told: Sequence[QueuedMessage], sent: Sent) -> None:
        with self._transaction() as db:
            db.executemany("DELETE FROM waiting WHERE n = ?", [(each.n,) for each in told])
            row = (sent.at, sent.source.camera, sent.source.inbox)
            db.execute("INSERT INTO told (at, camera, inbox) VALUES (?, ?, ?)", row)
            db.execute(_FORGET, (sent.at - SECONDS, KNOWN))
            db.execute("DELETE FROM sent WHERE at <= ?", (sent.at - SECONDS,))

    def tried(self, target: str, seconds: float, *, most: float) -> list[QueuedMessage]:
        """Note that this target was tried in vain for so long; return what is given up, beyond `most`."""
        with self._transaction() as db:
            db.execute(
                "UPDATE waiting SET tried_seconds = tried_seconds + ? WHERE target = ?", (seconds, target)
            )
            rows = db.execute(
                "DELETE FROM waiting WHERE target = ? AND tried_seconds >= ? RETURNING n, line",
                (target, most),
            )
            return [QueuedMessage(n, message_in(line)) for n, line in rows]

    def sent(self) -> list[Sent]:
        """What was told in the last hour, and by what else cameras are known."""
        now = time.time()
        with self._transaction() as db:
            rows = db.execute(
                "SELECT at, inbox, camera FROM told WHERE at > ?"
                " UNION ALL SELECT at, '', '' FROM sent WHERE at > ?",
                (now - KNOWN_SECONDS, now - SECONDS),
            )
            return [Sent(at, ToldSource(inbox, camera)) for at, inbox, camera in rows]

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self._path), self._db:
            yield self._db


def _opened(path: Path) -> sqlite3.Connection:
    keep_from_others(path)
    db = sqlite3.connect(path, timeout=30, check_same_thread=False)
    with contextlib.ExitStack() as stack:
        stack.callback(db.close)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -64")
        db.executescript(_TABLES)
        for table in ("waiting", "told"):
            if "inbox" not in {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}:
                db.execute(_INBOX.format(table))
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        stack.pop_all()
    return db


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: notifications cannot be kept: {error}") from error
