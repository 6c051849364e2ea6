"""Events in the journal: a row each with what is known of it, and the state that their rules go on from."""

import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from dropsight.journal.event_messages import EventMessage, encode_message, message_in
from dropsight.journal.schema import connect, translated

# Ended ones beyond these are forgotten, the oldest first.
MOST_EVENTS = 10_000
_WRITE = (
    "INSERT INTO event (id, name, camera, started, ended, count, line) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, count = excluded.count, line = excluded.line"
)


_PUT = (
    "INSERT INTO event_stream (camera, state) VALUES (?, ?)"
    " ON CONFLICT (camera) DO UPDATE SET state = excluded.state"
)


class CameraState(NamedTuple):
    """What the rules go on from at one camera; None for nothing any more."""

    camera: str
    state: bytes | None

    def write(self, db: sqlite3.Connection) -> None:
        if self.state is None:
            db.execute("DELETE FROM event_stream WHERE camera = ?", (self.camera,))
        else:
            db.execute(_PUT, (self.camera, self.state))


class EventNews(msgspec.Struct, frozen=True):
    """What becomes of events along with records; `states` are those of cameras where it is another now."""

    messages: Sequence[EventMessage] = ()
    states: Sequence[CameraState] = ()

    def __bool__(self) -> bool:
        return bool(self.messages or self.states)

    def write(self, db: sqlite3.Connection) -> None:
        """Within a transaction."""
        for told in self.messages:
            values = (told.id, told.name, told.camera, told.started, told.ended, told.count)
            db.execute(_WRITE, (*values, encode_message(told)))
        if any(told.phase == "start" for told in self.messages):
            db.execute(
                "DELETE FROM event WHERE ended IS NOT NULL AND n <= (SELECT max(n) FROM event) - ?",
                (MOST_EVENTS,),
            )
        for each in self.states:
            each.write(db)


class EventRow(NamedTuple):
    """`n` is its number, in the order in which events were told to begin."""

    n: int
    message: EventMessage


class EventReader:
    """A reading connection, for one thread. Raises StoreError."""

    def __init__(self, journal: Path) -> None:
        self._path = journal
        with translated(journal):
            self._db = connect(journal)

    def states(self) -> dict[str, bytes]:
        """Return what the rules go on from, by camera."""
        with translated(self._path):
            return dict(self._db.execute("SELECT camera, state FROM event_stream"))

    def going_on(self) -> list[EventMessage]:
        """Return what was told last of those that have not ended."""
        with translated(self._path):
            rows = self._db.execute("SELECT line FROM event WHERE ended IS NULL ORDER BY n").fetchall()
        return [message_in(line) for (line,) in rows]

    def latest(self, camera: str, name: str) -> tuple[bool, bytes | None]:
        """Tell whether one goes on, and what is known of the newest."""
        with translated(self._path):
            place = (camera, name)
            newest = self._db.execute(
                "SELECT line FROM event WHERE camera = ? AND name = ? ORDER BY n DESC LIMIT 1", place
            ).fetchone()
            going_on = self._db.execute(
                "SELECT 1 FROM event WHERE camera = ? AND name = ? AND ended IS NULL", place
            ).fetchone()
        return going_on is not None, None if newest is None else bytes(newest[0])

    def newest(self, cameras: Collection[str]) -> list[EventMessage]:
        """Return what is known of each camera's newest event."""
        of_camera = "SELECT line FROM event WHERE camera = ? ORDER BY n DESC LIMIT 1"
        with translated(self._path):
            rows = [self._db.execute(of_camera, (camera,)).fetchone() for camera in sorted(cameras)]
        return [message_in(row[0]) for row in rows if row]

    def close(self) -> None:
        self._db.close()
