"""The config read again: a faulty one is refused, another model swapped in, anything else begun anew with."""

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from dropsight.classify.engine import open_engine_when_whole
from dropsight.classify.work import Engine
from dropsight.config import Config
from dropsight.errors import ConfigError, DropsightError, ModelError
from dropsight.service.lifecycle import Lifecycle
from dropsight.status.systemd import notify
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

Reread = Callable[[], Config]


class Reloader:
    """Thread-safe: one reload at a time. `config` is the one in force."""

    def __init__(
        self,
        config: Config,
        reread: Reread,
        *,
        lifecycle: Lifecycle,
        troubles: Troubles,
        workers: int,
        swap: Callable[[Engine, Config], None],
    ) -> None:
        self.config = config
        self._reread, self._lifecycle, self._troubles, self._swap = reread, lifecycle, troubles, swap
        self._workers = workers
        self._lock = threading.Lock()

    def reload(self) -> str:
        """Tell what is done; raises ConfigError or ModelError, and then all goes on as before."""
        with self._lock:
            notify(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))
            try:
                done = self._reload()
            except (ConfigError, ModelError) as error:
                part = "config" if isinstance(error, ConfigError) else "model"
                refusal = DropsightError(f"not reloaded, all goes on as before: {error}")
                self._troubles.raised(part, refusal)
                raise
            finally:
                if self._lifecycle.successor is None:  # else the daemon that comes says so
                    notify(READY="1")
            self._troubles.cleared("config")
            self._troubles.cleared("model")
            log.info("reloaded: %s", done)
            return done

    def _reload(self) -> str:
        config = self._reread()
        engine = open_engine_when_whole(config)
        if self._only_the_model_differs(config) and len(engine.models) == self._workers:
            self._swap(engine, config)  # which may refuse
            self.config = config
            return f"model {engine.plan.spec.name} is in force"
        self._lifecycle.request_restart(config)
        return "beginning anew with another config"

    def _only_the_model_differs(self, config: Config) -> bool:
        mine = self.config
        # What arrives by a source has the limits that this was made with.
        limits = config.limits if any(each.mqtt is not None for each in config.watch) else mine.limits
        same = msgspec.structs.replace(config, model=mine.model, inference=mine.inference, limits=limits)
        return same == mine
