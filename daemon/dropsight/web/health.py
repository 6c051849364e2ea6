"""Whether the service can do its work at the moment."""

import os
import tempfile
import time
from pathlib import Path
from typing import Literal

import msgspec

from dropsight.web.shown_daemon import ShownDaemon

CHECK_SECONDS = 5.0
TRIAL = b"\0" * 4_096
_OF_DISK = ("journal", "log", "filing", "share", "syncing")

BrokerState = Literal["connected", "away", "off"]


class Health(msgspec.Struct, frozen=True):
    """`reasons` is empty where it is ready; the broker is told of, not asked for: records wait for it."""

    ready: bool
    reasons: list[str]
    broker: BrokerState


class Checks:
    """Looks at folders and disk every few seconds at most, however often it is asked."""

    def __init__(self, daemon: ShownDaemon) -> None:
        self._daemon = daemon
        self._reasons: list[str] = []
        self._looked_at = 0.0

    def health(self) -> Health:
        now = time.monotonic()
        if not self._looked_at or now - self._looked_at > CHECK_SECONDS:
            self._reasons, self._looked_at = self._look(), now
        status = self._daemon.status()
        reasons = [] if self._daemon.up else ["starting: the model is not ready yet"]
        reasons += self._reasons
        reasons += [text for part, text in status.troubles.items() if part in _OF_DISK]
        broker: BrokerState = "off"
        if status.mqtt is not None:
            broker = "connected" if status.mqtt.connected else "away"
        return Health(not reasons, reasons, broker)

    def _look(self) -> list[str]:
        config = self._daemon.config
        unseen = [
            f"{watch.path} cannot be watched"
            for watch in config.watch
            if not (watch.path.is_dir() and os.access(watch.path, os.R_OK | os.X_OK))
        ]
        return unseen + [fault for folder in {config.store.path.parent} if (fault := _unwritable(folder))]


def _unwritable(folder: Path) -> str | None:
    try:
        # Nameless and gone before any disk sees it, but a full one says no.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(TRIAL)
            file.flush()
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}"
    return None
