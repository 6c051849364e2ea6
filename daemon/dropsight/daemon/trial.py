"""An image that may have killed the daemon is tried in a process of its own first."""

import logging
import subprocess
import sys
from pathlib import Path

from dropsight.models.spec import ModelSpec
from dropsight.service.watchdog import interval_seconds

log = logging.getLogger(__name__)

TRIAL_SECONDS = 120.0


def survives(path: str, spec: ModelSpec) -> bool:
    """Whether a process that classifies this image ends by itself, well or badly, and in time."""
    log.warning("%s was in hand when the daemon died: tried by itself first", path)
    # Others may write where the daemon works: no module is imported from there (-P), nor anything else found.
    program = [sys.executable, "-P", "-m", "dropsight"]
    command = [*program, "classify", "--model", str(Path(spec.path).absolute()), str(Path(path).absolute())]
    try:
        tried = subprocess.run(command, cwd="/", capture_output=True, timeout=_seconds(), check=False)
    except subprocess.TimeoutExpired:
        return False
    return tried.returncode >= 0


def _seconds() -> float:
    """No more than the watchdog gives the daemon: at an image that hangs one, the other hangs, too."""
    return min(TRIAL_SECONDS, interval_seconds() or TRIAL_SECONDS)
