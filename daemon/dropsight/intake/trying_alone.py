"""Images that were in hand when the daemon died: each is tried in a process of its own."""

from collections import Counter
from typing import Protocol

from dropsight.errors import ImageError, MachineError, MemoryShortError
from dropsight.images.company import COMPANY
from dropsight.intake.in_hand import Suspect, Verdict
from dropsight.names import as_text

TRIALS = 3
# The stages at which native code may have ended the process.
TRIED_ALONE = {"decode", "apart", "invoke"}


class Trial(Protocol):
    def try_alone(self, path: str) -> Verdict:
        """Tell whether a process of its own survives this image."""


class Suspects:
    """Thread-safe: images that were in hand when the daemon died are tried in a process of their own."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._starved: Counter[str] = Counter()

    def try_alone(self, path: str, suspect: Suspect) -> None:
        """Raises ImageError for an image that a process of its own does not survive, either.

        MachineError where that process was given too little memory, until it was so too often.
        """
        with COMPANY.joined() as mark:
            verdict = self._trial.try_alone(path)
        if verdict == "died":
            raise refusal(suspect, suspect.ends + 1)
        if verdict == "starved":
            if COMPANY.had_since(mark):  # a clip, or a picture for the dashboard, may have had that memory
                raise MemoryShortError(f"{as_text(path)} waits: there was too little memory to try it alone")
            self._starved[path] += 1
            if self._starved[path] < TRIALS:
                raise MachineError(
                    f"{as_text(path)} waits: processed alone, it needs more memory than there is"
                )
        if self._starved.pop(path, 0) >= TRIALS:
            fault = f"it needs more memory than there is: processed alone {TRIALS} times"
            raise ImageError("unreadable", fault)


def refusal(suspect: Suspect, times: int) -> ImageError:
    """Return what to record of an image that ended the process so many times."""
    often = "twice" if times == 2 else f"{times} times"
    if suspect.stage in {"decode", "apart"}:
        return ImageError("unreadable", f"decoding it crashed the process {often}")
    if suspect.stage == "invoke":
        return ImageError("model_error", f"the interpreter crashed the process on it {often}")
    return ImageError("internal_error", f"the process crashed {often} while processing it")
