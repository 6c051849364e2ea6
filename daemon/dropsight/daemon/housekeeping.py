"""What is done every ten minutes: old images go, and so does what the ledger knows of files that are gone."""

import threading
from collections.abc import Sequence

from dropsight.daemon.ledger import Ledger
from dropsight.errors import DamagedError, StoreError
from dropsight.service.clock import Clock
from dropsight.service.dropfolder import DropFolder
from dropsight.service.recorder import Recorder
from dropsight.service.retention import sweep

NAME = "housekeeping"
HOUSEKEEPING_SECONDS = 600.0


class Housekeeper:
    """`run` belongs on a thread of its own."""

    def __init__(
        self, folders: Sequence[DropFolder], clock: Clock, ledger: Ledger, recorder: Recorder
    ) -> None:
        self._folders, self._clock, self._ledger, self._recorder = folders, clock, ledger, recorder

    def run(self, stopped: threading.Event) -> None:
        while not stopped.wait(0):
            self.keep_house()
            stopped.wait(HOUSEKEEPING_SECONDS)

    def keep_house(self) -> None:
        """Raises DamagedError; any other refusal of the journal's is told, and there is a next time."""
        for folder in self._folders:
            if folder.settings.after != "keep":
                sweep(folder.settings, self._clock)
        try:
            self._recorder.forget_kept(self._ledger.gone(self._folders))
        except DamagedError:
            raise
        except StoreError as error:
            self._recorder.troubles.raised(NAME, error)
        else:
            self._recorder.troubles.cleared(NAME)
