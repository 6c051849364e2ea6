"""What is wrong at the moment: said once, said again when it changes or lasts, and said when it is over."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dropsight.errors import DropsightError
from dropsight.names import as_text

REMIND_SECONDS = 300.0
PARTS = (
    *("announcements", "arrivals", "cameras", "config", "crowd", "depth", "failures", "filing", "folders"),
    *("housekeeping", "inbox", "internal", "journal", "kernels", "log", "machine", "model", "mqtt", "name"),
    *("records", "secrets", "slow", "start", "syncing", "threads", "watch", "web"),
)


@dataclass(slots=True)
class Troubles:
    """Thread-safe."""

    log: logging.Logger
    changed: Callable[[], None] = lambda: None
    _current: dict[str, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def raised(self, part: str, error: DropsightError) -> None:
        now, text = time.monotonic(), as_text(str(error))
        with self._lock:
            known, said_at = self._current.get(part, ("", 0.0))
            if known == text and now - said_at < REMIND_SECONDS:
                return
            self._current[part] = (text, now)
        self.log.warning("%s", text)
        if known != text:
            self._tell()

    def cleared(self, part: str) -> None:
        with self._lock:
            over = self._current.pop(part, None)
        if over:
            self.log.info("%s: in order again", part)
            self._tell()

    def _tell(self) -> None:
        try:
            self.changed()
        except Exception:  # whoever tells of a trouble is not to have another
            self.log.exception("an internal error in telling of a trouble")

    def any(self) -> bool:
        return bool(self._current)

    def current(self) -> dict[str, str]:
        with self._lock:
            return {part: text for part, (text, _) in self._current.items()}
