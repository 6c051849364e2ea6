"""HTTP POST to one receiver: over one connection, with TLS for https, limited in time and bytes."""

import logging
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import NamedTuple, cast
from urllib.parse import SplitResult

from urllib3 import disable_warnings
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, SystemTimeWarning

from dropsight.errors import SinkError
from dropsight.names import as_shown
from dropsight.sinks.dialling import dial
from dropsight.sinks.interim_answers import BoundedResponse

# Of an answer, which is not looked at: more is not waited for, at the cost of the connection.
ANSWER_BYTES = 2**16
REASON_LETTERS = 80
# It would quote the URL, and many have their secret in it.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)
disable_warnings(SystemTimeWarning)  # at each attempt, beside the log, of what the error says
# X509_V_ERR numbers of OpenSSL (x509_vfy.h): not yet valid, and expired.
_WAYS_OUT = {9: "set the clock of this machine", 10: "renew it there, or set the clock of this machine"}


class Reply(NamedTuple):
    """`wait_seconds` is what Retry-After says, 0 without."""

    status: int
    reason: str
    wait_seconds: float


class _Plain(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _dialled(self)


class _Encrypted(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _dialled(self)


def _dialled(connection: HTTPConnection) -> socket.socket:
    plain = dial(connection.host, connection.port, seconds=cast("float", connection.timeout))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain


class Poster:
    """For one thread. Neither redirects nor proxies are followed."""

    def __init__(self, url: SplitResult, *, context: ssl.SSLContext | None, timeout_seconds: float) -> None:
        host, port = url.hostname or "", url.port
        self._seconds = timeout_seconds
        self._target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        if context is None:
            self._connection: HTTPConnection = _Plain(host, port, timeout=timeout_seconds)
        else:
            self._connection = _Encrypted(host, port, timeout=timeout_seconds, ssl_context=context)
        self._connection.response_class = BoundedResponse

    def connect(self) -> str:
        """Connect, and say how that is protected; raises SinkError."""
        with self._bounded():
            self._connection.connect()
        found = self._connection.sock
        return found.version() or "TLS" if isinstance(found, ssl.SSLSocket) else "not encrypted"

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Raise SinkError where there is no answer in time."""
        connection = self._connection
        with self._bounded() as over:
            if not connection.is_connected:  # as after a long pause
                connection.close()
                connection.connect()
            if over.is_set():  # within the handshake, where there is nothing to hang up on
                raise TimeoutError
            connection.request("POST", self._target, body=body, headers=headers, preload_content=False)
            response = connection.getresponse()
            if over.is_set():  # of headers that are cut off, nobody says that they are
                raise TimeoutError
            try:
                whole = len(response.read(ANSWER_BYTES + 1, decode_content=False)) <= ANSWER_BYTES
            except (HTTPError, HTTPException, OSError):  # which takes nothing back
                whole = False
        if not whole:
            connection.close()
        reason = as_shown((response.reason or "")[:REASON_LETTERS])
        return Reply(response.status, reason, _wait_seconds(response.headers))

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _bounded(self) -> Iterator[threading.Event]:
        """Hang up when the time is over: sockets bound each step only, and a peer may take many."""
        over = threading.Event()
        timer = threading.Timer(self._seconds, self._hang_up, [over])
        timer.daemon = True
        timer.start()
        try:
            yield over
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            self._connection.close()
            words = f"no answer within {self._seconds:g} s" if over.is_set() else _reason(error)
            raise SinkError(words) from error
        finally:
            timer.cancel()

    def _hang_up(self, over: threading.Event) -> None:
        over.set()
        with suppress(OSError, TypeError):  # it may be closed just now
            # SSLSocket's own would have what is still to be sent go out in plain text.
            socket.socket.shutdown(self._connection.sock, socket.SHUT_RDWR)


def _wait_seconds(headers: Mapping[str, str]) -> float:
    """Take a date by the clock of who says it: ours may be of 1970, and about to be set."""
    said = headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said)
    with suppress(ValueError, TypeError, OverflowError):  # the last of years beyond any number
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return max((parsedate_to_datetime(said) - now).total_seconds(), 0.0)
    return 0.0


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        way_out = _WAYS_OUT.get(error.verify_code, "see webhooks.ca_file")
        return f"its certificate is not trusted: {error.verify_message}; {way_out}"
    if isinstance(error, socket.gaierror):
        return "unknown host; see webhooks.url"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, HTTPException | ValueError) and not isinstance(error, OSError):
        return "its answer is not HTTP"
    cause = error.__cause__ if isinstance(error, HTTPError) else error
    return getattr(cause, "strerror", None) or as_shown(str(cause or error))[:REASON_LETTERS]
