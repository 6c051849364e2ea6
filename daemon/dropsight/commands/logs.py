"""The daemon's own messages, for people: stderr, which systemd keeps in the system journal."""

import logging
import os
import sys
import threading
import time
from typing import Any

import msgspec

from dropsight.names import as_shown
from dropsight.stderr import Unwaiting

# Of one kind; a kind of "%s" says something else each time, and its authors have a pace of their own.
MOST_LINES, MINUTE_SECONDS = 60, 60.0
_ANY_KIND = "%s"
_MOST_KINDS = 1_000


class _Lines(msgspec.Struct):
    began: float
    count: int = 0


class FewOfAKind(msgspec.Struct):
    """Lets so many lines of a kind by in a minute: who uploads can have any number made."""

    _kinds: dict[str, _Lines] = msgspec.field(default_factory=dict)
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = str(record.msg), time.monotonic()
        if kind == _ANY_KIND:
            return True
        with self._lock:
            lines, left_out = self._kinds.get(kind), 0
            if lines is None or now - lines.began >= MINUTE_SECONDS:
                left_out = max(lines.count - MOST_LINES, 0) if lines else 0
                if len(self._kinds) >= _MOST_KINDS:
                    self._kinds.clear()
                lines = self._kinds[kind] = _Lines(now)
            lines.count += 1
            count = lines.count
        if left_out:
            record.msg = f"{kind} (before it, {left_out} lines like this one were left out)"
        elif count == MOST_LINES:
            record.msg = f"{kind} (further lines like this one are left out for up to a minute)"
        return count <= MOST_LINES


class _OneLine(logging.Formatter):
    """A message is one line, whatever the names in it; a traceback has lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = as_shown(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802, ANN401 - logging's name, and its type
        return "\n".join(map(as_shown, super().formatException(ei).split("\n")))


class _Priorities(_OneLine):
    """Each line with its priority in front, as journald reads it; it has times of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return mark(super().format(record), record.levelno)


def set_up(*, debug: bool) -> None:
    handler = logging.StreamHandler(Unwaiting(sys.stderr))
    if _is_journal():
        handler.setFormatter(_Priorities("%(message)s"))
    else:
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    if not debug:
        handler.addFilter(FewOfAKind())
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    if not debug:
        for noisy in ("amqtt", "transitions", "asyncio"):
            logging.getLogger(noisy).setLevel(logging.ERROR)


def mark(text: str, level: int = logging.ERROR) -> str:
    """Return the text for stderr: with a priority on every line where journald reads it."""
    if not _is_journal():
        return text
    # syslog: 2 critical, 3 error, 4 warning, 6 informational, 7 debug
    priority = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}.get(level, 7)
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def _is_journal() -> bool:
    """Whether stderr is the very stream that systemd names: it may have been redirected since."""
    named = os.environ.get("JOURNAL_STREAM")
    if named is None:
        return False
    stat = os.fstat(sys.stderr.fileno())
    return named == f"{stat.st_dev}:{stat.st_ino}"
