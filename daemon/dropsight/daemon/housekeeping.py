"""What is looked after every ten minutes."""

import threading
from collections.abc import Sequence

from dropsight.daemon.ledger import Ledger
from dropsight.service.clock import Clock
from dropsight.service.dropfolder import DropFolder
from dropsight.service.recorder import Recorder
from dropsight.service.retention import sweep

HOUSEKEEPING_SECONDS = 600.0


def keep_house(
    stopped: threading.Event, folders: Sequence[DropFolder], clock: Clock, recorder: Recorder, ledger: Ledger
) -> None:
    """Delete what is beyond its retention, forget kept files that are gone; until stopped."""
    while not stopped.wait(0):
        for folder in folders:
            if folder.settings.after != "keep":
                sweep(folder.settings, clock)
        recorder.forget_kept(ledger.gone(folders))
        stopped.wait(HOUSEKEEPING_SECONDS)
