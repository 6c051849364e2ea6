"""`dropsight run`."""

import faulthandler
import os
from collections.abc import Sequence
from pathlib import Path

from dropsight.classify.resources import raise_descriptor_limit
from dropsight.commands.settings import settings
from dropsight.config import Config, has_password
from dropsight.errors import ConfigError
from dropsight.service.lifecycle import Lifecycle
from dropsight.service.startup import serve
from dropsight.sinks.terminal import Terminal, open_terminal
from dropsight.spawning import begin_apart


def run(
    file: Path | None,
    *,
    watch: Sequence[str],
    model: str | None,
    log: str | None,
    mqtt: str | None,
    once: bool,
    verbose: bool = False,
) -> int:
    """Run the daemon until it is asked to stop; return the exit code."""
    if mqtt is not None and has_password(mqtt):
        way_out = "put it into a file and name that in mqtt.password_file (DROPSIGHT_MQTT__PASSWORD_FILE)"
        raise ConfigError([f"--mqtt: a password on a command line is visible to every user; {way_out}"])
    overrides: dict[str, object] = {}
    if len(watch) == 1:
        overrides["watch.0.path"] = watch[0]
    elif watch:
        overrides["watch"] = [{"path": path} for path in watch]
    if model is not None:
        overrides["model.path"] = model
    if log is not None:
        overrides["log.path"] = log
    if mqtt is not None:
        overrides |= {"mqtt": None} if mqtt == "none" else {"mqtt.url": mqtt}

    def reread() -> Config:
        return settings(file, overrides=overrides, anew=True)

    # The watchdog ends a daemon that hangs by SIGABRT: this leaves every thread's place in the journal.
    faulthandler.enable()
    raise_descriptor_limit()
    config = settings(file, overrides=overrides)
    with Lifecycle() as lifecycle:
        begin_apart(lifecycle.waker)
        return serve(config, reread, lifecycle, once=once, terminal=_terminal(verbose=verbose))


def _terminal(*, verbose: bool) -> Terminal | None:
    """Where somebody looks on, or wants to read it later."""
    if not (verbose or os.isatty(1)):
        return None
    return open_terminal()
