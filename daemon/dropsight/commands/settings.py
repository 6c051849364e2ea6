"""The config of a command: file, environment, flags; and `dropsight config`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dropsight.config import Config, Store, dump, load, schema
from dropsight.config.environment import CONFIG_FILE
from dropsight.status.control import NAME

# systemd names the folder of a unit's config in this variable (systemd.exec, ConfigurationDirectory=).
FOLDER, SYSTEM_FOLDER = "CONFIGURATION_DIRECTORY", "/etc/dropsight"
SYSTEM_FILE = "dropsight.yaml"


def settings(file: Path | None, *, overrides: Mapping[str, object] = {}, anew: bool = False) -> Config:
    """Read the config, for the first time or `anew`; raises ConfigError."""
    flags = {"watch": "--watch", "watch.0.path": "--watch", "model.path": "--model", "log.path": "--log"}
    flags |= {"mqtt.url": "--mqtt", "mqtt": "--mqtt"}
    return load(file, overrides=overrides, environ=os.environ, flags=flags, anew=anew)


def find_config(file: Path | None) -> Path | None:
    """Return the config of the daemon that a command is about, and say on stderr which was taken.

    The one that was named, else DROPSIGHT_CONFIG's, else none where a daemon without one has its socket here,
    else the installed service's, else none.
    """
    if file is not None:
        return file
    named, socket, system = os.environ.get(CONFIG_FILE), Store().path.parent / NAME, system_file()
    if named:
        return _taken(f"{named}, named by {CONFIG_FILE}", Path(named))
    if is_there(socket):
        return _taken(f"none, as a dropsight without one has its socket here ({socket})", None)
    if is_there(system):
        return _taken(f"{system}, the installed service's", system)
    return None


def system_file() -> Path:
    return Path(os.environ.get(FOLDER, SYSTEM_FOLDER), SYSTEM_FILE)


def show(file: Path | None, *, schema: bool) -> None:
    if schema:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(_schema()), indent=2) + b"\n")
    else:
        sys.stdout.write(dump(settings(file)))


def _taken(text: str, file: Path | None) -> Path | None:
    print(f"dropsight: no config given (-c FILE): using {text}", file=sys.stderr)
    return file


def is_there(path: Path) -> bool:
    """Also where it cannot be looked at: opening it tells why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


_schema = schema
