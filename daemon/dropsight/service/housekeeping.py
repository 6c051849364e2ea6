"""Every ten minutes: deletes old images, empty folders, and ledger entries of files that are gone."""

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from dropsight import crashpoints
from dropsight.errors import DamagedError, StoreError
from dropsight.intake.clock import Clock
from dropsight.intake.folder import DropFolder
from dropsight.journal.empty_folders import remove_empty
from dropsight.journal.filed import FiledImages
from dropsight.journal.former_places import is_watched
from dropsight.journal.ledger import Ledger
from dropsight.journal.recorder import Recorder
from dropsight.journal.retention import Sweeper

NAME = "housekeeping"
HOUSEKEEPING_SECONDS = 600.0
# Where the journal's disk is full there is a next time; meanwhile, retention may make room.
NOTED_SECONDS = 10.0
LOOK_SECONDS = 0.02


class Housekeeper:
    """`run` belongs on a thread of its own. `remembers`: so many records stay in the journal.

    Where not `all_there` are, as an inbox on a share does not answer, nothing is forgotten of any.
    """

    def __init__(
        self,
        folders: Sequence[DropFolder],
        clock: Clock,
        ledger: Ledger,
        recorder: Recorder,
        *,
        journal: Path,
        remembers: int,
        all_there: bool = True,
    ) -> None:
        self._folders, self._ledger, self._recorder = folders, ledger, recorder
        self._journal, self._remembers = journal, remembers
        in_use = _places(folders) if all_there else None
        self._clock, self._all_there = clock, all_there
        self._sweeper = Sweeper(
            clock, in_use, lambda place: is_watched(place, folders) and Path(place).is_dir()
        )
        self._upto = recorder.newest
        """What was filed from here on, the recorder notes."""

    def run(self, stopped: threading.Event) -> None:
        while not stopped.wait(0):
            self.keep_house(stopped)
            stopped.wait(HOUSEKEEPING_SECONDS)

    def keep_house(self, stopped: threading.Event) -> None:
        """Raises DamagedError; any other refusal of the journal's is told, and there is a next time."""
        crashpoints.reach("in_housekeeping")
        try:
            self._sweep(stopped)
            for news in self._ledger.news(self._folders, self._clock) if self._all_there else ():
                self._recorder.note_kept(news)
                if not self._is_noted(stopped):
                    break
        except DamagedError:
            raise
        except StoreError as error:
            self._recorder.troubles.raised(NAME, error)
        else:
            self._recorder.troubles.cleared(NAME)

    def _is_noted(self, stopped: threading.Event) -> bool:
        """Wait until the journal has heard of it, so that there is never more of it than that."""
        until = time.monotonic() + NOTED_SECONDS
        while self._recorder.has_kept_to_note:
            if time.monotonic() >= until or stopped.wait(LOOK_SECONDS):
                return False
        return True

    def _sweep(self, stopped: threading.Event) -> None:
        self._sweeper.until(stopped.is_set)
        with closing(FiledImages(self._journal)) as shelf:
            whole = self._recorder.shelf_is_whole or not self._all_there
            if not whole and shelf.adopt(self._folders, upto=self._upto, stopped=stopped.is_set):
                self._recorder.note_whole_shelf()
            remembered_from = self._recorder.newest - self._remembers
            for folder in self._folders:
                if folder.settings.after != "keep" and not stopped.is_set():
                    self._sweeper.sweep(folder, shelf, remembered_from=remembered_from)
                    remove_empty(folder, self._clock)


def _places(folders: Sequence[DropFolder]) -> frozenset[str]:
    return frozenset(place.path for folder in folders for place in (folder.processed, folder.failed))
