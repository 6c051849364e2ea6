"""What went wrong on the way to a target, in words of our own: what libraries say may quote the URL."""

import http.client
import logging
import os
import re
import smtplib
import socket
import ssl
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from http import HTTPStatus

import msgspec

from dropsight.sinks.notify.answer_bounds import EndlessAnswerError

_STATUS = re.compile(
    r"\berror=(\d{3})\d{0,2}\b"
)  # some services have five digits, the first three are HTTP's
# A picture is not what these are about.
_NOT_OF_THE_PICTURE = {401, 404, 407, 408, 425, 429, 502, 503, 504}
_LINKS = 32
_CLOSED, _LATE = "it closes the connection", "no answer in time"


class CapturedWarning(msgspec.Struct):
    """What Apprise has warned of: the exception at work, and the status of HTTP."""

    error: BaseException | None = None
    status: int | None = None

    @property
    def blames_picture(self) -> bool:
        """Whether it may be for its picture that the target did not take it."""
        if self.status is not None:
            return self.status not in _NOT_OF_THE_PICTURE
        return self.error is None or isinstance(self.error, smtplib.SMTPResponseException)

    def spoken(self) -> str:
        if self.status is not None:
            return f"it answers {_status(self.status)}"
        return spoken(self.error) if self.error else "it does not take it, and Apprise does not say why"


class WarningCapture(logging.Handler):
    """Hears what Apprise warns of, for each notification apart: the threads that it uses inherit `_hears`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._hears: ContextVar[CapturedWarning] = ContextVar("hears")

    def listen(self) -> CapturedWarning:
        """Return what is heard from here on."""
        captured = CapturedWarning()
        self._hears.set(captured)
        return captured

    def emit(self, record: logging.LogRecord) -> None:
        captured = self._hears.get(None)
        if captured is None:
            return
        captured.error = sys.exc_info()[1] or captured.error
        if found := _STATUS.search(record.getMessage()):
            captured.status = int(found[1])


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def spoken(error: BaseException) -> str:
    """Say what an exception is about, quoting nothing of it."""
    for each in _chain(error):
        if said := _known(each):
            return said
    return f"it cannot be reached ({type(error).__name__})"


# The first that fits; what is in brackets is a number alone.
_WORDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (smtplib.SMTPAuthenticationError, "it refuses user name or password"),
    (smtplib.SMTPRecipientsRefused, "it refuses the recipient"),
    (smtplib.SMTPResponseException, "it answers"),
    ((smtplib.SMTPServerDisconnected, http.client.HTTPException, EOFError), _CLOSED),
    ((ConnectionResetError, ConnectionAbortedError, BrokenPipeError), _CLOSED),
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "TLS fails"),
    (socket.gaierror, "its host name is not known"),
    (TimeoutError, _LATE),
    (EndlessAnswerError, "its answer has no end"),
    (MemoryError, "Apprise needs more memory for it than its limit"),
)


def _known(error: BaseException) -> str | None:
    words = next((words for kind, words in _WORDS if isinstance(error, kind)), None)
    if words:
        return f"{words}{_codes(error)}"
    if "Timeout" in type(error).__name__:
        return _LATE
    # Of a library's own kinds, the text may be anything.
    is_systems = type(error).__module__ == "builtins" and isinstance(error, OSError) and error.errno
    return f"it cannot be reached ({os.strerror(error.errno)})" if is_systems else None  # type: ignore[attr-defined]


def _codes(error: BaseException) -> str:
    codes = set[int]()
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = {code for code, _ in error.recipients.values()}
    elif isinstance(error, smtplib.SMTPResponseException):
        codes = {error.smtp_code}
    return f" ({', '.join(map(str, sorted(codes)))})" if codes else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """What it was raised from, and what it holds: libraries wrap the one that tells, several times."""
    seen, left = list[BaseException](), [error]
    while left and len(seen) < _LINKS:
        each = left.pop(0)
        if each in seen:
            continue
        seen.append(each)
        held = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        left += [inner for inner in held if isinstance(inner, BaseException)]
    # What is innermost tells most; a timeout tells more than the connection that it ended.
    yield from reversed(seen)
