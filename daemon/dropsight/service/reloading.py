"""Reload: an invalid config is refused, a new model is swapped in, anything else takes a restart."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from dropsight.classify.engine import open_engine_when_whole
from dropsight.classify.work import InForce
from dropsight.config import Config, open_to_all, token
from dropsight.config.last_read import LAST_READ
from dropsight.errors import ConfigError, DropsightError, ModelError, UntriedError
from dropsight.intake.mute_inboxes import MuteInboxes
from dropsight.service.followers import Followers
from dropsight.service.lifecycle import Lifecycle
from dropsight.sinks.sections import wanted as followers_of
from dropsight.status.systemd import notify
from dropsight.status.troubles import Troubles

if TYPE_CHECKING:
    from dropsight.web.serving import WebServer

log = logging.getLogger(__name__)

Reread = Callable[[], Config]


SECRETS = "secrets"
OLD_STAYS = "config not reloaded, the old one stays in use"
# Until a model is tried again.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 600.0
# So often files of secrets are looked at while all are in order.
SECRETS_SECONDS = 60.0


def look_at_secrets(config: Config, troubles: Troubles, spoilt: Sequence[str] = ()) -> None:
    """Have status and log name files that are open to all, or cannot be used by now.

    That is since the last start, or, of those that are `spoilt`, since they were read for what is in force.
    """
    before = "until it is in order, what was read before the restart is used"
    later = "what was read before is used, but dropsight could not start anew: put it in order"
    unusable = [f"{fault}; {before}" for fault in LAST_READ.faults] + [
        f"{fault}; {later}" for fault in spoilt
    ]
    if found := unusable + open_to_all(config):
        troubles.raised(SECRETS, DropsightError("; ".join(found)))
    else:
        troubles.cleared(SECRETS)


def read_secrets(config: Config) -> None:
    """Read what a daemon with this config would; raises ConfigError."""
    LAST_READ.forget_refused()
    for follower in followers_of(config):
        if follower.read:
            follower.read()
    if config.web:
        token(config.web)


class Reloader:
    """Thread-safe: one reload at a time."""

    def __init__(
        self,
        in_force: InForce,
        reread: Reread,
        *,
        lifecycle: Lifecycle,
        troubles: Troubles,
        followers: Followers,
        web: "WebServer | None",
        mute: MuteInboxes,
    ) -> None:
        self._in_force, self._reread = in_force, reread
        self._lifecycle, self._troubles = lifecycle, troubles
        self._followers, self._web, self._mute = followers, web, mute
        self._lock = threading.Lock()
        self._pause, self._due_at = FIRST_PAUSE_SECONDS, math.inf
        self._spoilt: Sequence[str] = ()
        self._secrets_seen_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether to reload once more, as there was no room to test a model the last time."""
        return time.monotonic() >= self._due_at

    def reload(self) -> str:
        """Return what was done; raises ConfigError or ModelError, and then the old config stays in use."""
        with self._lock:
            self._due_at = math.inf
            notify(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))
            try:
                done = self._reload()
            except (ConfigError, ModelError) as error:
                part = "config" if isinstance(error, ConfigError) else "model"
                again = self._try_again() if isinstance(error, UntriedError) else ""
                refusal = DropsightError(f"{OLD_STAYS}: {error}{again}")
                self._troubles.raised(part, refusal)
                raise
            finally:
                if self._lifecycle.successor is None:  # else the daemon that comes says so
                    notify(READY="1")
            self._pause = FIRST_PAUSE_SECONDS
            self._troubles.cleared("config")
            self._troubles.cleared("model")
            log.info("reloaded: %s", done)
            return done

    def _try_again(self) -> str:
        """Ever later, for a trial may take a minute of a small machine's processor; say when."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._due_at = time.monotonic() + pause
        return f"; trying again in {pause:g} s"

    def _reload(self) -> str:
        wanted = self._reread()
        config = self._mute.without(wanted)
        engine = open_engine_when_whole(config)
        as_many = len(engine.models) == len(self._in_force.engine.models)
        # Many a device is for one process: while this one has it, the trial's does not get it.
        mine, theirs = self._in_force.engine.acceleration, engine.acceleration
        is_taken = bool(mine and not mine.fault and theirs and theirs.fault and theirs.device == mine.device)
        fewer = len(engine.models) < len(self._in_force.engine.models)
        if (fewer or is_taken) and config == self._in_force.config and engine.is_like(self._in_force.engine):
            # Beside the one in force there is no room, or device, for as much of it as it has itself.
            self._read_secrets()
            look_at_secrets(config, self._troubles)
            return f"nothing has changed: model {engine.plan.spec.name} stays in use"
        if as_many and not is_taken and only_the_model_differs(config, self._in_force.config):
            self._read_secrets()
            look_at_secrets(config, self._troubles)
            self._mute.adopt(wanted)
            self._in_force.swap(config, engine)
            if publisher := self._followers.publisher:
                publisher.announce_again()
            return f"model {engine.plan.spec.name} is in use"
        read_secrets(config)
        self._lifecycle.request_restart(wanted)
        return "restarting with the new config"

    def _read_secrets(self) -> None:
        """Raises ConfigError, and then the former ones stay."""
        self._followers.read_secrets()
        if self._web:
            self._web.read_token()
        LAST_READ.note(())
        self._spoilt = ()

    def keep_looking_at_secrets(self, ended: threading.Event, *, every: float) -> None:
        """Use the files that this start could not, as soon as they are in order; tell of those that are not.

        What has come in the place of others takes a reload, as ever. On a thread of its own: a share that
        answers nobody may have one of them, and a reload may last.
        """
        while not ended.wait(every):
            rested = time.monotonic() - self._secrets_seen_at
            if LAST_READ.faults or self._spoilt or rested >= SECRETS_SECONDS:
                self._look_at_all_secrets(ended)

    def _look_at_all_secrets(self, ended: threading.Event) -> None:
        with self._lock:
            self._secrets_seen_at, self._spoilt = time.monotonic(), ()
            if self._lifecycle.successor is not None:  # which has been read
                return
            config, faults = self._in_force.config, list[str]()
            try:
                read_secrets(config)  # first, for followers come in anew with what is read for them
                if LAST_READ.faults and not ended.is_set():
                    self._read_secrets()
            except ConfigError as error:
                faults += error.faults
            if ended.is_set():  # it may have taken long
                return
            if LAST_READ.faults:
                LAST_READ.note(faults)
            else:
                self._spoilt = faults
            look_at_secrets(config, self._troubles, self._spoilt)


def only_the_model_differs(config: Config, mine: Config) -> bool:
    # What arrives by a source has the limits that this was made with.
    limits = config.limits if any(each.mqtt is not None for each in config.watch) else mine.limits
    same = msgspec.structs.replace(
        config, model=mine.model, groups=mine.groups, inference=mine.inference, limits=limits
    )
    return same == mine
