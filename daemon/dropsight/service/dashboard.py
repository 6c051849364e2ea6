"""The web part, given what it asks of the daemon."""

import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from dropsight import installing
from dropsight.config import Config, Web
from dropsight.config.addresses import host_and_port, is_loopback
from dropsight.inference.planning import Plan
from dropsight.journal.recorder import Recorder
from dropsight.service.reporter import Reporter
from dropsight.sinks.reports import Status
from dropsight.status.stats import Stats
from dropsight.status.troubles import Troubles
from dropsight.web.extra import is_installed
from dropsight.web.port import Port

if TYPE_CHECKING:
    from dropsight.web.serving import WebServer

log = logging.getLogger(__name__)


# Of TEST-NET-1 (RFC 5737): nobody is there, and asking for the way there sends nothing.
FAR_AWAY = ("192.0.2.1", 9)


def address_for_others(settings: Web | None) -> str | None:
    """Where other machines see the dashboard, None where they do not."""
    host, port = host_and_port(settings.listen) if settings else ("localhost", 0)
    if is_loopback(host) or not port:
        return None
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - what a person can type
        host = _own_address()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _own_address() -> str:
    """Give the address that this machine speaks from, or its name where it has no way out."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.connect(FAR_AWAY)
            return str(asked.getsockname()[0])
    except OSError:
        return socket.gethostname()


class RunningDaemon:
    """The daemon of this process as the web part sees it: a `ShownDaemon`."""

    def __init__(
        self,
        config: Config,
        reporter: Reporter,
        recorder: Recorder,
        stats: Stats,
        *,
        obey: Callable[[bytes], bytes],
    ) -> None:
        self._watched = [os.fspath(watch.path) for watch in config.watch]
        self._reporter, self._recorder, self._obey = reporter, recorder, obey
        self.busy, self.cameras, self.labels = reporter.busy, reporter.cameras, reporter.labels
        self.distributions = stats.distributions

    @property
    def config(self) -> Config:
        return self._reporter.config

    @property
    def plan(self) -> Plan:
        return self._reporter.plan

    @property
    def visible(self) -> int:
        return self._recorder.visible

    @property
    def up(self) -> bool:
        return self._reporter.up

    def status(self) -> Status:
        return self._reporter.status(self._watched)

    def obey(self, command: bytes, /) -> bytes:
        return self._obey(command)


def open_web(
    config: Config,
    port: Port,
    reporter: Reporter,
    recorder: Recorder,
    stats: Stats,
    *,
    obey: Callable[[bytes], bytes],
    troubles: Troubles,
) -> "WebServer | None":
    """None where it is turned off, or left at its default without being installed; raises ConfigError."""
    settings = config.web
    if settings is None:
        port.close()
        return None
    if settings == Web() and not is_installed():
        log.info("no dashboard without packages that are not installed: %s", installing.with_extra("web"))
        return None
    # asyncio and what serves take a tenth of the start.
    from dropsight.web.serving import WebServer

    daemon = RunningDaemon(config, reporter, recorder, stats, obey=obey)
    return WebServer(settings, port, daemon, troubles, newest=recorder.newest)
