"""The web part, given what it asks of the daemon."""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from dropsight import installing
from dropsight.config import Config, Web
from dropsight.daemon.reporter import Reporter
from dropsight.service.recorder import Recorder
from dropsight.service.stats import Stats
from dropsight.service.troubles import Troubles
from dropsight.web.extra import is_installed

if TYPE_CHECKING:
    from dropsight.web.serving import WebServer

log = logging.getLogger(__name__)


def open_web(
    config: Config,
    reporter: Reporter,
    recorder: Recorder,
    stats: Stats,
    *,
    obey: Callable[[bytes], bytes],
    changed: Callable[[], None],
) -> "WebServer | None":
    """None where it is turned off, or left at its default without being installed; raises ConfigError."""
    settings = config.web
    if settings is None:
        return None
    if settings == Web() and not is_installed():
        log.info("no dashboard without packages that are not installed: %s", installing.with_extra("web"))
        return None
    # asyncio and what serves take a tenth of the start.
    from dropsight.web.serving import WebServer
    from dropsight.web.sources import Sources

    watched = [os.fspath(watch.path) for watch in config.watch]
    sources = Sources(
        config=lambda: reporter.config,
        status=lambda: reporter.status(watched),
        distributions=stats.distributions,
        visible=lambda: recorder.visible,
        up=lambda: reporter.up,
        busy=reporter.busy,
        cameras=reporter.cameras,
        labels=reporter.labels,
        obey=obey,
    )
    return WebServer(settings, sources, Troubles(log, changed=changed), newest=recorder.newest)
