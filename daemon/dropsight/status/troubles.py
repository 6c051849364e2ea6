"""What is wrong now: logged once, again when it changes or lasts, and when it has recovered."""

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from dropsight.errors import DropsightError
from dropsight.names import as_text

REMIND_SECONDS, CHANGED_SECONDS = 300.0, 60.0
PARTS = (
    "accelerator",
    *(
        "announcements",
        "arrivals",
        "bursts",
        "cameras",
        "clock",
        "config",
        "crowd",
        "depth",
        "failures",
        "filing",
        "folders",
    ),
    *("housekeeping", "inbox", "internal", "journal", "kernels", "log", "machine", "model", "mqtt", "name"),
    *("records", "secrets", "share", "slow", "start", "syncing", "threads", "watch", "web"),
)
# How often these change, and end, is up to whoever makes folders and drops images.
OF_UPLOADERS = {"announcements", "crowd", "depth", "folders", "records", "watch"}


class _LastLine(msgspec.Struct):
    """The last line on a part. `over`: it is said that this has recovered."""

    text: str
    at: float
    over: bool = False
    changes: int = 0


class Troubles(msgspec.Struct):
    """Thread-safe. Of what strangers can have change there is a line a minute, with the number of changes."""

    log: logging.Logger
    changed: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    _current: dict[str, str] = msgspec.field(default_factory=dict)
    _last_lines: dict[str, _LastLine] = msgspec.field(default_factory=dict)
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def raised(self, part: str, error: DropsightError) -> None:
        text = as_text(str(error))
        with self._lock:
            is_new, self._current[part] = self._current.get(part) != text, text
            line = self._line(part, text, is_new=is_new)
        if line:
            self.log.warning("%s", line)
        if is_new:
            self._tell()

    def _line(self, part: str, text: str, *, is_new: bool) -> str | None:
        """Return what to say of it now, if it is time to."""
        now, said = self.clock(), self._last_lines.get(part)
        changes = said.changes + is_new if said else 0
        if said:
            said.changes = changes
            is_said = said.text == text and not said.over
            if now - said.at < (
                REMIND_SECONDS if is_said else CHANGED_SECONDS if part in OF_UPLOADERS else 0.0
            ):
                return None
        self._last_lines[part] = _LastLine(text, now)
        return f"{text} (changed {changes:,} times since it was last said)" if changes > 1 else text

    def holds(self, part: str) -> bool:
        """Whether this one is in trouble, for who asks at every image: without the lock."""
        return part in self._current

    def cleared(self, part: str) -> None:
        with self._lock:
            if self._current.pop(part, None) is None:
                return
            said = self._last_lines[part]
            is_said, said.over = not said.over, True
            if part not in OF_UPLOADERS:
                del self._last_lines[part]
        if is_said:
            self.log.info("%s: recovered", part)
        self._tell()

    def _tell(self) -> None:
        try:
            self.changed()
        except Exception:  # whoever tells of a trouble is not to have another
            self.log.exception("internal error while reporting a problem")

    def any(self) -> bool:
        return bool(self._current)

    def current(self) -> dict[str, str]:
        with self._lock:
            return dict(self._current)
