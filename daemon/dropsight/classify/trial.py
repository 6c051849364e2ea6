"""An image that may have crashed the daemon is tried in a separate process first."""

import logging
import resource
import signal
import subprocess
from pathlib import Path

from dropsight import children
from dropsight.children import available_bytes
from dropsight.classify.work import InForce
from dropsight.errors import MachineError, ProcessorShortError
from dropsight.intake.in_hand import Verdict
from dropsight.models.isolated import STARVED
from dropsight.models.spec import ModelSpec
from dropsight.spawning import popen
from dropsight.status.systemd import interval_seconds
from dropsight.threads import LIMITS, is_lacking, was_lacking

log = logging.getLogger(__name__)

TRIAL_SECONDS = 120.0
# What an interpreter of Python and a model take without any picture.
_LEAST_BYTES = 512 * 2**20


class TrialProcess:
    """Tries images with the model in force."""

    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force

    def try_alone(self, path: str) -> Verdict:
        return tried(path, self._in_force.engine.plan.spec)


def tried(path: str, spec: ModelSpec, *, room: int | None = None) -> Verdict:
    """Tell how a process ends that classifies this image: by itself, well or badly, and in time, or not.

    It has what memory there is at the moment and no more; where the kernel runs short, it is the first to go.
    Raises MachineError where somebody has ended it, as a stop does, or it had no processor.
    """
    log.warning("%s was in hand when the daemon ended: trying it alone first", path)
    places = (str(Path(spec.path).absolute()), str(Path(path).absolute()))
    command = children.command("dropsight", "classify", "--model", *places)
    with popen(command, stderr=subprocess.PIPE) as process:
        _bound(process.pid, room or max(available_bytes(), _LEAST_BYTES))
        try:
            _, said = children.communicated(process, None, seconds=_seconds())
        except children.StoodStillError as error:
            text = "images wait: the process that tries one alone had no processor, or too little of it"
            raise ProcessorShortError(text) from error
        except subprocess.TimeoutExpired:
            return "died"
        finally:
            process.kill()
    if process.returncode == -signal.SIGKILL or any(word in said for word in STARVED):
        return "starved"
    if process.returncode < 0 and (was_lacking(said) or is_lacking()):
        raise MachineError(f"images wait: no thread for the process that tries one alone ({LIMITS})")
    if children.was_ended(process.returncode):
        raise MachineError(f"images wait: the process that tries one alone was ended ({process.returncode})")
    return "died" if process.returncode < 0 else "survived"


def _bound(pid: int, room: int) -> None:
    """Bound the memory of a process; have the kernel take it before any other."""
    try:
        resource.prlimit(pid, resource.RLIMIT_DATA, (room, room))
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
    except ProcessLookupError:
        return  # it has ended
    except OSError as error:
        log.warning("the separate process has no memory limit: %s", error)


def _seconds() -> float:
    """No more than the watchdog gives the daemon: at an image that hangs one, the other hangs, too."""
    return min(TRIAL_SECONDS, interval_seconds() or TRIAL_SECONDS)
