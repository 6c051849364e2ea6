"""What the files really show, as somebody has said: in a table, or by the names of their folders."""

import csv
import io
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from dropsight.archive.manifest import Named
from dropsight.archive.scratch import scratch
from dropsight.archive.storage import Storage, absolute, told
from dropsight.errors import ConfigError
from dropsight.names import as_shown

FOLDER_NAMES = "folder-names"
_HEADINGS = ("path", "label")


class Truths(Protocol):
    name: str
    """How people call them."""

    def of(self, files: Sequence[Named]) -> str | None:
        """Return what this file shows, which may have several names."""

    @property
    def unused(self) -> int:
        """How many labels there are for files that nobody asked for."""


class FolderNames:
    """A file shows what its folder is called."""

    name = "the folders' names"
    unused = 0

    def of(self, files: Sequence[Named]) -> str | None:
        _, folder, _ = ("/" + files[0].opens).rsplit("/", 2)
        return as_shown(folder) or None


class LabelsTable:
    """A CSV with the columns path and label, held in a temporary file; a path may begin after the source."""

    def __init__(self, place: str, base: sqlite3.Connection, sources: Sequence[str]) -> None:
        self.name = place
        self._base = base
        self._beginnings = [os.fsencode(source).rstrip(b"/") + b"/" for source in sources]
        self._found = 0
        base.execute("CREATE TABLE labels (path BLOB, label TEXT)")
        base.executemany("INSERT INTO labels VALUES (?, ?)", _lines(place))
        base.execute("CREATE INDEX by_path ON labels (path)")
        twice = "SELECT path FROM labels GROUP BY path HAVING COUNT(DISTINCT label) > 1 LIMIT 1"
        for (path,) in base.execute(twice):
            raise ConfigError([f"{place}: {os.fsdecode(path)} has two labels"])
        (self._all,) = base.execute("SELECT COUNT(DISTINCT path) FROM labels").fetchone()

    def of(self, files: Sequence[Named]) -> str | None:
        for path in dict.fromkeys(name for file in files for name in self._names(os.fsencode(file.opens))):
            found = self._base.execute("SELECT label FROM labels WHERE path = ?", (path,)).fetchone()
            if found:
                self._found += 1
                return str(found[0])
        return None

    @property
    def unused(self) -> int:
        return int(max(self._all - self._found, 0))

    def _names(self, path: bytes) -> Iterator[bytes]:
        yield path
        for beginning in self._beginnings:
            if path.startswith(beginning):
                yield path.removeprefix(beginning)


@contextmanager
def truths_of(place: str, sources: Sequence[str]) -> Iterator[Truths]:
    """Open a table, or take the folders' names; raises ConfigError, StoreError."""
    if place == FOLDER_NAMES:
        yield FolderNames()
        return
    with scratch() as base:
        yield LabelsTable(place, base, sources)


def _lines(place: str) -> Iterator[tuple[bytes, str]]:
    folder, _, name = absolute(place).rpartition("/")
    try:
        with told(place, "read"), _opened(Storage(folder or "/"), name) as file:
            lines = csv.reader(io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline=""))
            columns = _columns(place, next(lines, []))
            for line in filter(None, lines):
                if len(line) <= max(columns):
                    raise ConfigError([f"{place}: line {lines.line_num} has no label"])
                path, label = (line[column] for column in columns)
                yield os.fsencode(path.removeprefix("./")), as_shown(label.strip())
    except FileNotFoundError as error:
        raise ConfigError([f"{place}: there is no such file"]) from error
    except csv.Error as error:
        raise ConfigError([f"{place}: no CSV: {error}"]) from error


def _opened(storage: Storage, name: str) -> AbstractContextManager[Any]:
    """Open it, a pipe as well on this machine."""
    return open(storage.named(name), "rb") if storage.on_this_machine else storage.reading(name)


def _columns(place: str, first: Sequence[str]) -> tuple[int, int]:
    headings = [each.strip().lower() for each in first]
    if missing := [heading for heading in _HEADINGS if heading not in headings]:
        raise ConfigError(
            [f"{place}: its first line has to name the columns path and label; {missing[0]} is missing"]
        )
    path, label = map(headings.index, _HEADINGS)
    return path, label
