"""Starts the daemon: at once, or once the disk has room; after a rescue if the journal is damaged."""

import logging
import os
from functools import partial
from pathlib import Path

from dropsight.classify.resources import give_memory_back
from dropsight.config import Config
from dropsight.config.credentials import certificate_files, secret_files
from dropsight.config.last_read import LAST_READ
from dropsight.errors import (
    ConfigError,
    DamagedError,
    DropsightError,
    InUseError,
    ModelError,
    StoreError,
    UntriedError,
)
from dropsight.files.filesystems import FSTAB, unmounted_above
from dropsight.intake.mute_inboxes import MuteInboxes
from dropsight.journal.rescue import needs_rescue, rescue
from dropsight.models.backends import BUILTIN
from dropsight.service.daemon import Daemon
from dropsight.service.lifecycle import Lifecycle
from dropsight.service.reloading import OLD_STAYS, Reread, read_secrets
from dropsight.sinks.sections import wanted
from dropsight.sinks.terminal import Terminal
from dropsight.status.systemd import EXTENSION_USEC, notify
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 30.0


def serve(
    config: Config, reread: Reread, lifecycle: Lifecycle, *, once: bool, terminal: Terminal | None = None
) -> int:
    """Run the daemon, and another after it for each config that a reload brings; return the exit code."""
    former: Config | None = None
    refusal: DropsightError | None = None
    mute = MuteInboxes()
    while True:
        try:
            daemon = open_daemon(
                config,
                reread,
                lifecycle,
                mute,
                once=once,
                reloaded=former is not None,
                terminal=terminal,
            )
        except (ConfigError, ModelError, InUseError) as error:
            if former is None:
                raise
            refusal = DropsightError(f"{OLD_STAYS}: {error}")
            config, former = former, None
            continue
        if daemon and refusal:
            daemon.tell_refusal(refusal)
        refusal = None
        code = daemon.run() if daemon else 0
        successor = lifecycle.begin_again()
        if successor is None or daemon is None:
            return code
        config, former = successor, mute.asked
        # Its parts hold each other: connections and interpreters would stay until the collector comes.
        del daemon
        give_memory_back()


def open_daemon(
    config: Config,
    reread: Reread,
    lifecycle: Lifecycle,
    mute: MuteInboxes,
    *,
    once: bool,
    reloaded: bool,
    terminal: Terminal | None,
) -> Daemon | None:
    """Return it, None when asked to stop first.

    With `once`, StoreError is raised instead of waited for; where a former config can go on, InUseError.
    """
    troubles = Troubles(log)
    pause = 1.0
    while True:
        try:
            answering = mute.answering(config)
            with LAST_READ.starting():
                daemon = _open(answering, reread, lifecycle, mute, once=once, terminal=terminal)
            troubles.cleared("start")
            return daemon
        except (StoreError, UntriedError) as error:
            if once or (reloaded and isinstance(error, InUseError)):
                raise
            troubles.raised("start", error)
            # Neither the start nor, after a reload, the watchdog is to run out over a full disk.
            notify(STATUS=f"cannot start yet: {error}", EXTEND_TIMEOUT_USEC=EXTENSION_USEC, WATCHDOG="1")
        if lifecycle.wait(pause):
            return None
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        if lifecycle.take_reload():
            config, pause = _reread(config, reread, troubles), 1.0


def _reread(config: Config, reread: Reread, troubles: Troubles) -> Config:
    """Somebody may have named a better disk."""
    try:
        found = reread()
        read_secrets(found)
        config = found
        troubles.cleared("config")
    except ConfigError as error:
        troubles.raised("config", error)
    return config


def _open(
    config: Config,
    reread: Reread,
    lifecycle: Lifecycle,
    mute: MuteInboxes,
    *,
    once: bool,
    terminal: Terminal | None,
) -> Daemon:
    journal, followers = config.store.path, [each.mark.name for each in wanted(config)]
    made = partial(Daemon, config, lifecycle, once=once, reread=reread, terminal=terminal, mute=mute)
    if needs_rescue(journal):
        rescue(journal, followers=followers)
    _wait_for_its_disk(journal)
    _wait_for_what_is_read(config)
    try:
        return made()
    except DamagedError as error:
        log.warning("%s", error)
        rescue(journal, followers=followers)
        return made()


def _wait_for_its_disk(journal: Path) -> None:
    """Raise StoreError while it may be on a disk that is not mounted.

    A new journal would know nothing of what is on record. Where there is one, it may have been saved as the
    disk was taken away, or the table be another machine's, as in a container.
    """
    if (place := unmounted_above(journal)) is None:
        return
    text = f"store.path: {place}, which {FSTAB} names, is not mounted"
    if not journal.exists():
        raise StoreError(f"{text}, and {journal} is not there: mount it, or take it out of {FSTAB}")
    log.warning("%s: going on with what %s knows", text, journal)


def _wait_for_what_is_read(config: Config) -> None:
    """Raise StoreError while a model that nothing takes the place of, a mask or a secret is on such a disk.

    Without them the daemon would end for good: for systemd, what leads nowhere is a fault of the config.
    """
    masks = [(f"cameras.{name}.mask", each.mask) for name, each in config.cameras.by_name.items()]
    named = [*masks, *(() if LAST_READ.has_any else (*secret_files(config), *certificate_files(config)))]
    if not config.model.fallback and not config.model.path.startswith(BUILTIN):
        named.append(("model.path", Path(config.model.path)))
    for key, path in named:
        if path and not os.access(path, os.F_OK) and (place := unmounted_above(path)):
            text = f"{key}: {place}, which {FSTAB} names, is not mounted, and {path} is not there"
            raise StoreError(f"{text}: mount it, or take it out of {FSTAB}")
