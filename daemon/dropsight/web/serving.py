"""The thread that serves; made without the web extra, which it looks for when it starts."""

import asyncio
import contextlib
import errno
import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec

from dropsight import crashpoints, installing
from dropsight.config import Web, host_and_port, token
from dropsight.errors import DropsightError, ImageError, MachineError
from dropsight.journal.recording import Durable, records_in
from dropsight.records import Result
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles
from dropsight.web.access import Access
from dropsight.web.overview import Overviews
from dropsight.web.port import Port, bind
from dropsight.web.shown_daemon import ShownDaemon
from dropsight.web.stills import ShownClip, strip_of

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 30.0
CLOSE_SECONDS = 10.0
_REASONS = {
    errno.EADDRINUSE: "another program listens there; stop it, or give another port",
    errno.EADDRNOTAVAIL: "this machine has no such address (yet)",
    errno.EACCES: "ports below 1024 need root",
}


class WebServer:
    """Raises ConfigError on construction where the token cannot be read. What fails later is a trouble."""

    def __init__(
        self, settings: Web, port: Port, daemon: ShownDaemon, troubles: Troubles, *, newest: int
    ) -> None:
        self._port, self._troubles = port, troubles
        self.address: str | None = None
        self._settings = settings
        self._access = Access(token(settings), daemon.config.store.path.parent)
        self._overviews = Overviews(daemon, protected=self._access.token is not None, newest=newest)
        self._stopping = threading.Event()
        self._end: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None

    def start(self, supervision: Supervision) -> None:
        """Unless it has: where no thread can be started that is a trouble, and this is to be called again."""
        if self._thread is None:
            try:
                self._thread = supervision.start("web", self._run, patience_seconds=0)
            except MachineError as error:
                self._troubles.raised("web", error)

    @property
    def watchers(self) -> int:
        """How many follow the results as they come: dashboards, and whatever else streams."""
        return len(self._overviews.hub.clients)

    def read_token(self) -> None:
        """Read the token again; another ends the cookies made from it, and what they let in.

        Raises ConfigError, and then the former one stays.
        """
        found = token(self._settings)
        if found != self._access.token:
            self._access.token = found
            self._overviews.hub.hang_up()

    def hear(self, recorded: Sequence[Durable], /) -> None:
        """Pass on what was recorded, on the recorder's thread: it must not take long."""
        self._overviews.days.add([entry.record for entry in records_in(recorded)])
        self._overviews.hub.show(recorded)

    def keep_film(self, record: Result, surest: bytes, frames: Mapping[float, bytes]) -> None:
        """Have the pictures of a clip at hand while it is new, which else would be decoded again."""
        clip = msgspec.convert(record.clip, ShownClip, from_attributes=True)
        self._overviews.cache.put(f"{record.id}-small", surest)
        with contextlib.suppress(ImageError):  # which is no fault of the clip: it is made when asked for
            self._overviews.cache.put(f"{record.id}-film", strip_of(frames, clip))

    def close(self) -> None:
        self._stopping.set()
        self._end()
        if self._thread:
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            from dropsight.web.application import serve
        except ImportError as error:
            self._troubles.raised(
                "web", DropsightError(f"no dashboard: {error}; {installing.with_extra('web')}, or web: null")
            )
            return
        pause = 1.0
        while not self._stopping.is_set():
            try:
                listener = self._listen()
            except OSError as error:
                self._troubles.raised("web", _refusal(self._settings.listen, error))
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            self._troubles.cleared("web")
            with listener:
                crashpoints.reach("in_serving")
                asyncio.run(serve(listener, self._overviews, self._access, on_started=self._on_started))
            self.address = None

    def _listen(self) -> socket.socket:
        listener = self._port.open(self._settings.listen)
        host, _ = host_and_port(self._settings.listen)
        self.address = _url(host, listener.getsockname()[1])
        log.info("dashboard at %s", self.address)
        return listener

    def _on_started(self, end: Callable[[], None]) -> None:
        self._end = end
        if self._stopping.is_set():
            end()


def try_address(listen: str) -> None:
    """Raise DropsightError where `web.listen` cannot be had; nobody can connect meanwhile."""
    try:
        bind(listen).close()
    except OSError as error:
        raise _refusal(listen, error) from error


def _refusal(listen: str, error: OSError) -> DropsightError:
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return DropsightError(f"no dashboard: web.listen: {listen} cannot be used: {reason}")


def _url(host: str, port: int) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - what a person can type
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
