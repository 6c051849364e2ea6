"""Which inboxes, and places that images go to, are on the journal's own disk, for which all wait anyway."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from dropsight.intake.folder import DropFolder
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.journal.recording import Recorded, place_of
from dropsight.records import Record, status_of

Place: TypeAlias = tuple[DropFolder, bool]
# A space, for one, in a path there.
_ESCAPED = re.compile(r"\\([0-7]{3})")
# The table of mounts is read again after so long: it tells of a share without touching it.
LOOK_SECONDS = 0.1
_MOUNTS = Path("/proc/self/mountinfo")


class NearPlaces:
    """For the recorder's thread: of what is not near it touches nothing, which may not answer."""

    def __init__(self, slow: SlowInboxes) -> None:
        self._is_own = slow.is_own
        self._far: set[Place] = set()
        self._table = b""
        self._mounts: Mapping[str, str] = {}
        """The number of what is mounted, by where."""
        self._mounted_on: dict[Place, tuple[str, str | None]] = {}
        """Of what was near at the start: where images go, and the number of what is mounted there."""
        self._next_look = 0.0

    def open(self, folders: Sequence[DropFolder]) -> None:
        """Look where they are, while they answer."""
        self._table = _table()
        self._mounts = _mounts(self._table)
        for folder in folders:
            for is_ok, place in ((True, folder.processed), (False, folder.failed)):
                if self._is_there(folder.inbox.true) and self._is_there(place.true):
                    self._mounted_on[folder, is_ok] = place.true, self._mount_of(place.true)
                else:
                    self._far.add((folder, is_ok))
        self._compare()

    def has(self, folder: DropFolder, record: Record) -> bool:
        """Whether images of this inbox with such a record stay on the journal's disk."""
        return (folder, status_of(record) == "ok") not in self._far

    def is_near(self, entry: Recorded) -> bool:
        """Whether this one does: its camera's folder may be another disk."""
        if time.monotonic() >= self._next_look:
            self._look_at_mounts()
        return self._is_own(entry.finished.stat.st_dev) and place_of(entry) not in self._far

    def is_not(self, entry: Recorded) -> None:
        """It could not be renamed: unless it has a second name, another disk is mounted there by now."""
        if entry.finished.stat.st_nlink <= 1:
            self._far.add(place_of(entry))

    def _look_at_mounts(self) -> None:
        """What something was mounted over, or in, is no longer near."""
        self._next_look = time.monotonic() + LOOK_SECONDS
        if (table := _table()) != self._table:
            self._table, self._mounts = table, _mounts(table)
            self._compare()

    def _compare(self) -> None:
        for place, (path, mounted) in self._mounted_on.items():
            within = any(each.startswith(path + os.sep) for each in self._mounts)
            if within or self._mount_of(path) != mounted:
                self._far.add(place)

    def _mount_of(self, path: str) -> str | None:
        while path not in self._mounts and path != os.path.dirname(path):
            path = os.path.dirname(path)
        return self._mounts.get(path)

    def _is_there(self, path: str) -> bool:
        while not os.path.lexists(path):  # it will be made in the one above
            path = os.path.dirname(path)
        try:
            return self._is_own(os.stat(path).st_dev)
        except OSError:
            return False


def _table() -> bytes:
    try:
        return _MOUNTS.read_bytes()
    except OSError:
        return b""


def _mounts(table: bytes) -> Mapping[str, str]:
    """Return the number of each mount by its place, the last of several there; see proc_pid_mountinfo(5)."""
    rows = [line.split(" ", 5) for line in os.fsdecode(table).splitlines()]
    return {_ESCAPED.sub(lambda found: chr(int(found[1], 8)), row[4]): row[0] for row in rows if len(row) > 5}
