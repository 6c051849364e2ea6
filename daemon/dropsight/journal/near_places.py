"""Which inboxes, and places that images go to, are on the journal's own disk, for which all wait anyway."""

import os
from collections.abc import Sequence

from dropsight.intake.folder import DropFolder
from dropsight.intake.slow_inboxes import SlowInboxes
from dropsight.journal.recording import Recorded, place_of
from dropsight.records import Record, status_of


class NearPlaces:
    """For the recorder's thread: of what is not near it touches nothing, which may not answer."""

    def __init__(self, slow: SlowInboxes) -> None:
        self._is_own = slow.is_own
        self._far: set[tuple[DropFolder, bool]] = set()

    def open(self, folders: Sequence[DropFolder]) -> None:
        """Look where they are, while they answer."""
        for folder in folders:
            for is_ok, place in ((True, folder.processed), (False, folder.failed)):
                if not (self._is_there(folder.inbox.true) and self._is_there(place.true)):
                    self._far.add((folder, is_ok))

    def has(self, folder: DropFolder, record: Record) -> bool:
        """Whether images of this inbox with such a record stay on the journal's disk."""
        return (folder, status_of(record) == "ok") not in self._far

    def is_near(self, entry: Recorded) -> bool:
        """Whether this one does: its camera's folder may be another disk."""
        return self._is_own(entry.finished.stat.st_dev) and place_of(entry) not in self._far

    def is_not(self, entry: Recorded) -> None:
        """It could not be renamed: unless it has a second name, another disk is mounted there by now."""
        if entry.finished.stat.st_nlink <= 1:
            self._far.add(place_of(entry))

    def _is_there(self, path: str) -> bool:
        while not os.path.lexists(path):  # it will be made in the one above
            path = os.path.dirname(path)
        try:
            return self._is_own(os.stat(path).st_dev)
        except OSError:
            return False
