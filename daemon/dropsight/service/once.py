"""`run --once`: processes everything in the folders, then stops."""

import time

from dropsight.intake.backlog import Backlog
from dropsight.intake.scanner import Scanner
from dropsight.service.lifecycle import Lifecycle
from dropsight.status.troubles import Troubles

PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 0.02


def work_once(
    lifecycle: Lifecycle,
    backlog: Backlog,
    scanner: Scanner,
    troubles: Troubles,
    *,
    settle_seconds: float,
) -> None:
    """Walk until a walk finds nothing new and what was found is finished; then ask to stop."""
    seen = -1
    trouble_since: float | None = None
    while not lifecycle.stopping:
        if backlog.at_rest(settle_seconds=settle_seconds):
            if backlog.counters().seen == seen:
                break
            seen = backlog.counters().seen
            scanner.walk_all()
            continue
        if any(backlog.overflow.take().values()):  # they have no place in the backlog, and are not held open
            scanner.walk_all()
        trouble_since = (trouble_since or time.monotonic()) if troubles.any() else None
        if trouble_since and time.monotonic() - trouble_since > PATIENCE_SECONDS:
            break
        lifecycle.wait(LOOK_SECONDS)
    lifecycle.request_stop()
