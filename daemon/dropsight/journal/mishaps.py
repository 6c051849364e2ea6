"""What nobody expected while one image was at work: that image's failure, or the machine's trouble."""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from dropsight.errors import (
    DamagedError,
    DropsightError,
    ImageError,
    MachineError,
    MemoryShortError,
    StoreError,
    machine_error,
)
from dropsight.inference import pipeline
from dropsight.inference.pipeline import Drop, Plan
from dropsight.intake.backlog import Backlog
from dropsight.intake.candidate import Candidate
from dropsight.intake.in_hand import Suspect, Verdict
from dropsight.journal.recording import Finished, Outcome
from dropsight.names import as_text
from dropsight.records import encode
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

MACHINE, INTERNAL = "machine", "internal"
RETRY_SECONDS = 5.0
TRIALS = 3


def internal_error(error: BaseException, path: str, troubles: Troubles) -> ImageError:
    """Return what to record of a bug that one image met; its traceback goes to the daemon's own log."""
    log.error("%s: an internal error", as_text(path), exc_info=error)
    text = as_text(f"{type(error).__name__}: {error}")
    troubles.raised(INTERNAL, DropsightError(f"{as_text(path)} met an internal error, see the log: {text}"))
    return ImageError("internal_error", text)


class Made(msgspec.Struct, frozen=True):
    """A record and its line."""

    finished: Finished
    line: bytes

    def failed(self, error: BaseException, troubles: Troubles) -> "Made":
        """Return the record of its failure instead."""
        finished = self.finished.failed(internal_error(error, self.finished.path, troubles))
        return Made(finished, encode(finished.record))


def make(outcome: Outcome, troubles: Troubles) -> Made:
    """Make the record of an image, or that of its failure where making it goes wrong."""
    while True:
        try:
            finished = outcome.finish()
            return Made(finished, encode(finished.record))
        except MemoryError as error:
            troubles.raised(MACHINE, machine_error(error) or MachineError(str(error)))
            time.sleep(RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001 - one image's, whatever it is
            finished = outcome.failed(internal_error(error, outcome.path, troubles))
            return Made(finished, encode(finished.record))


class Mishaps:
    """Thread-safe. It stands between one image and the end of the daemon."""

    def __init__(self, backlog: Backlog, troubles: Troubles) -> None:
        self._backlog, self._troubles = backlog, troubles
        self._starved: Counter[str] = Counter()

    def judge(self, error: Exception, candidate: Candidate, plan: Plan, drop: Drop | None) -> Finished | None:
        """Return the failure to record; None where the image waits for the machine, or is gone.

        Raises DamagedError as it is: a journal that cannot be trusted is no image's fault.
        """
        if isinstance(error, DamagedError):
            raise error
        if short := MachineError(str(error)) if isinstance(error, StoreError) else machine_error(error):
            self._troubles.raised(MACHINE, short)
            alone = isinstance(short, MemoryShortError)
            self._backlog.postpone(candidate, seconds=RETRY_SECONDS, alone=alone)
            return None
        failure = internal_error(error, candidate.path, self._troubles)
        try:
            stat = drop.stat if drop else candidate.folder.look(candidate.path)
        except OSError:
            self._backlog.drop(candidate)
            return None
        drop = drop or drop_of(candidate, stat, plan.device)
        return Finished(candidate, stat, pipeline.failure(drop, failure, plan))

    def try_alone(self, path: str, suspect: Suspect, trial: Callable[[str], Verdict]) -> None:
        """Raises ImageError for an image that a process of its own does not survive, either.

        MachineError where that process was given too little memory, until it was so too often.
        """
        verdict = trial(path)
        if verdict == "died":
            raise refusal(suspect)
        if verdict == "starved":
            self._starved[path] += 1
            if self._starved[path] < TRIALS:
                raise MachineError(
                    f"{as_text(path)} waits: tried by itself, it took more memory than there is"
                )
        if self._starved.pop(path, 0) >= TRIALS:
            fault = f"it takes more memory than there is: tried by itself {TRIALS} times"
            raise ImageError("unreadable", fault)

    def over(self) -> None:
        """An image got through: whatever the machine lacked is there."""
        if MACHINE in self._troubles.current():
            self._troubles.cleared(MACHINE)


def refusal(suspect: Suspect) -> ImageError:
    """Return what to record of an image that ended the process twice."""
    if suspect.stage == "decode":
        return ImageError("unreadable", "decoding it ended the process, twice")
    if suspect.stage == "invoke":
        return ImageError("model_error", "the interpreter ended the process on it, twice")
    return ImageError("internal_error", "the process ended while it was in hand, twice")


def drop_of(candidate: Candidate, stat: os.stat_result, device: str) -> Drop:
    relative = os.fsencode(candidate.folder.relative(candidate.path))
    wait_ms = (time.monotonic() - candidate.ready_at) * 1e3
    camera = as_text(candidate.folder.camera(candidate.path))
    return Drop.of(relative, camera, stat, device=device, wait_ms=wait_ms)
