"""Unexpected errors while one image is processed: that image's failure, or the machine's trouble."""

import logging
import time

import msgspec

from dropsight.errors import (
    DamagedError,
    DropsightError,
    ImageError,
    MachineError,
    MemoryShortError,
    ProcessorShortError,
    StillDecodingError,
    StoreError,
    machine_error,
)
from dropsight.inference import image_records
from dropsight.inference.image_records import Drop
from dropsight.inference.planning import Plan
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.examiner import drop_of
from dropsight.journal.recording import Finished, Outcome
from dropsight.names import as_text
from dropsight.records import encode
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

MACHINE, INTERNAL = "machine", "internal"
RETRY_SECONDS = 5.0
# Of the pause before an image is tried again for which there is no memory, or too little of a processor:
# while it is, others wait.
MOST_DOUBLINGS = 7


def internal_error(error: BaseException, path: str, troubles: Troubles) -> ImageError:
    """Return what to record of a bug that one image met; its traceback goes to the daemon's own log."""
    log.error("%s: an internal error", as_text(path), exc_info=error)
    text = as_text(f"{type(error).__name__}: {error}")
    troubles.raised(INTERNAL, DropsightError(f"{as_text(path)}: internal error, see the log: {text}"))
    return ImageError("internal_error", text)


def tell_unless_damaged(error: StoreError, troubles: Troubles) -> None:
    """Tell of what may pass; raise what does not pass."""
    if isinstance(error, DamagedError):
        raise error
    troubles.raised("journal", error)


class EncodedRecord(msgspec.Struct, frozen=True):
    """A record and its line."""

    finished: Finished
    line: bytes

    def failed(self, error: BaseException, troubles: Troubles) -> "EncodedRecord":
        """Return the record of its failure instead."""
        finished = self.finished.failed(internal_error(error, self.finished.path, troubles))
        return EncodedRecord(finished, encode(finished.record))


def make(outcome: Outcome, troubles: Troubles) -> EncodedRecord:
    """Make the record of an image, or that of its failure where making it goes wrong."""
    while True:
        try:
            finished = outcome.finish()
            return EncodedRecord(finished, encode(finished.record))
        except MemoryError as error:
            troubles.raised(MACHINE, machine_error(error) or MachineError(str(error)))
            time.sleep(RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001 - one image's, whatever it is
            finished = outcome.failed(internal_error(error, outcome.path, troubles))
            return EncodedRecord(finished, encode(finished.record))


class Mishaps:
    """Thread-safe. It stands between one image and the end of the daemon."""

    def __init__(self, backlog: Backlog, troubles: Troubles) -> None:
        self._backlog, self._troubles = backlog, troubles

    def judge(self, error: Exception, candidate: Candidate, plan: Plan, drop: Drop | None) -> Finished | None:
        """Return the failure to record; None where the image waits for the machine, or is gone.

        Raises DamagedError as it is: a journal that cannot be trusted is no image's fault.
        """
        if isinstance(error, DamagedError):
            raise error
        if short := MachineError(str(error)) if isinstance(error, StoreError) else machine_error(error):
            self._troubles.raised(MACHINE, short)
            candidate.lacks = True
            self._put_off(candidate, short)
            return None
        failure = internal_error(error, candidate.path, self._troubles)
        try:
            stat = drop.stat if drop else candidate.folder.look(candidate.path)
        except OSError:
            self._backlog.drop(candidate)
            return None
        drop = drop or drop_of(candidate, stat, plan.device)
        return Finished(candidate, stat, image_records.failure(drop, failure, plan))

    def over(self, candidate: Candidate) -> None:
        """It got through: whatever the machine lacked is there, unless another waits for it yet."""
        candidate.lacks = False
        if self._troubles.holds(MACHINE) and not self._backlog.lacks():
            self._troubles.cleared(MACHINE)

    def settled(self, candidate: Candidate) -> None:
        """If it is refused, or gone, it waits for nothing any longer."""
        if candidate.lacks and candidate.place == "in_hand":
            self.over(candidate)

    def _put_off(self, candidate: Candidate, short: MachineError) -> None:
        alone = isinstance(short, MemoryShortError)
        if isinstance(short, StillDecodingError):
            self._backlog.postpone(candidate, seconds=RETRY_SECONDS)
            return
        seconds = RETRY_SECONDS * 2 ** min(candidate.shortages, MOST_DOUBLINGS)
        candidate.shortages += alone or isinstance(short, ProcessorShortError)
        self._backlog.postpone(candidate, seconds=seconds, alone=alone)
