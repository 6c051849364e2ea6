"""The daemon's own messages, for people: stderr, which systemd keeps in the system journal."""

import io
import logging
import os
import sys
from typing import TextIO

from dropsight.names import as_shown


class _OneLine(logging.Formatter):
    """A message is one line, whatever the names in it; a traceback has lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = as_shown(record.message)
        return super().formatMessage(record)


class _Priorities(_OneLine):
    """Each line with its priority in front, as journald reads it; it has times of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return mark(super().format(record), record.levelno)


def set_up(*, debug: bool) -> None:
    handler = logging.StreamHandler(_past_descriptor_2())
    if _is_journal():
        handler.setFormatter(_Priorities("%(message)s"))
    else:
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    if not debug:
        for noisy in ("amqtt", "transitions", "asyncio"):
            logging.getLogger(noisy).setLevel(logging.ERROR)


def _past_descriptor_2() -> TextIO:
    """Return a stream to where stderr leads now; that leads nowhere while a thread makes an interpreter."""
    lasting = io.FileIO(os.dup(sys.stderr.fileno()), "w", closefd=False)
    kind = sys.stderr
    return io.TextIOWrapper(lasting, encoding=kind.encoding, errors=kind.errors, write_through=True)


def mark(text: str, level: int = logging.ERROR) -> str:
    """Return the text for stderr: with a priority on every line where journald reads it."""
    if not _is_journal():
        return text
    # syslog: 2 critical, 3 error, 4 warning, 6 informational, 7 debug
    priority = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}.get(level, 7)
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


def _is_journal() -> bool:
    """Whether stderr is the very stream that systemd names: it may have been redirected since."""
    named = os.environ.get("JOURNAL_STREAM")
    if named is None:
        return False
    stat = os.fstat(sys.stderr.fileno())
    return named == f"{stat.st_dev}:{stat.st_ino}"
