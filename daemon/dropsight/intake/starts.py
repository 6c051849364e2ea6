"""Counts starts that crashed in a row: then images are taken one at a time, to find the one at fault."""

import logging
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.errors import DropsightError, StoreError
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

NAME = "starts"
PART = "start"
GOOD_SECONDS = 60.0
DEATHS = 3


class Starts:
    """Counts this start, in the state folder, until it has lived for a minute or ends in order.

    Not fsynced: what a loss of power takes of the count only has it begin anew.
    """

    def __init__(self, state: Path, troubles: Troubles) -> None:
        self._note, self._troubles = state / NAME, troubles
        self._began = time.monotonic()
        before = _number(self._note)
        self.one_by_one = before >= DEATHS
        self._counts = True
        try:
            self._note.unlink(missing_ok=True)  # whatever it is: not written to, nor through it
            self._note.write_bytes(b"%d\n" % (before + 1))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._note, error.strerror)
        if self.one_by_one:
            fault = f"the last {before} starts crashed within a minute"
            troubles.raised(
                PART, StoreError(f"{fault}: images are taken one at a time until a start lasts a minute")
            )

    def look(self) -> bool:
        """Take note of a life that has lasted; tell whether it has."""
        if self._counts and time.monotonic() - self._began >= GOOD_SECONDS:
            self._forget()
        return not self._counts

    def forgive(self) -> None:
        """Have this life count for no crash, however short it was."""
        self._forget()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, DropsightError):
            self._forget()

    def __enter__(self) -> Self:
        return self

    def _forget(self) -> None:
        self._counts = self.one_by_one = False
        self._troubles.cleared(PART)
        try:
            self._note.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s", self._note, error.strerror)


def _number(note: Path) -> int:
    try:
        return int(read_bounded(note, STATE_BYTES)[:8])
    except (OSError, ValueError):
        return 0
