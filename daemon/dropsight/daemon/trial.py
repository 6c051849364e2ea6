"""An image that may have killed the daemon is tried in a process of its own first."""

import logging
import subprocess
import sys

from dropsight.models.spec import ModelSpec
from dropsight.service.watchdog import interval_seconds

log = logging.getLogger(__name__)

TRIAL_SECONDS = 120.0


def survives(path: str, spec: ModelSpec) -> bool:
    """Whether a process that classifies this image ends by itself, well or badly, and in time."""
    log.warning("%s was in hand when the daemon died: tried by itself first", path)
    command = [sys.executable, "-m", "dropsight", "classify", "--model", str(spec.path), path]
    try:
        tried = subprocess.run(command, capture_output=True, timeout=_seconds(), check=False)
    except subprocess.TimeoutExpired:
        return False
    return tried.returncode >= 0


def _seconds() -> float:
    """No more than the watchdog gives the daemon: at an image that hangs one, the other hangs, too."""
    return min(TRIAL_SECONDS, interval_seconds() or TRIAL_SECONDS)
