"""How the starts before this one have ended, as the state folder tells.

After starts that crashed in a row images are taken one at a time, to find the one at fault. A fault in native
code leaves every thread's place, for the next start to tell: who kills the process leaves nothing.
"""

import contextlib
import faulthandler
import logging
import os
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
CRASH_NAME = "crash"
MOST_LINES = 200
# As faulthandler spells them. The watchdog's SIGABRT and a disk's SIGBUS are no fault of ours.
_OWN_FAULTS = tuple(
    b"Fatal Python error: " + fault for fault in (b"Segmentation fault", b"Floating", b"Illegal instruction")
)


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


class CrashNote:
    """While it is open, a fatal signal is noted in this state folder, and not on standard error."""

    def __init__(self, state: Path) -> None:
        self._path, self._fd = state / CRASH_NAME, -1
        try:
            left = read_bounded(self._path, STATE_BYTES)
        except OSError:
            left = b""
        self.of_its_own = left.startswith(_OWN_FAULTS)
        """Whether the last start has ended by a fault in its own native code."""
        _tell(left)
        try:
            self._path.unlink(missing_ok=True)  # whatever it is: not written to, nor through it
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
        else:
            faulthandler.enable(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd < 0:
            return
        faulthandler.enable()
        os.close(self._fd)
        with contextlib.suppress(OSError):
            self._path.unlink()


def _number(note: Path) -> int:
    try:
        return int(read_bounded(note, STATE_BYTES)[:8])
    except (OSError, ValueError):
        return 0


def _tell(left: bytes) -> None:
    if not left.startswith(b"Fatal Python error"):
        return
    lines = left.decode(errors="replace").split("\n")[:MOST_LINES]
    log.error("the last start ended by a fatal signal, with its threads at these places:")
    for line in filter(None, lines):
        log.error("  %s", line)
