"""The config of a command: file, environment, flags; and `dropsight config`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dropsight.config import Config, dump, load, schema

SYSTEM_FILE = Path("/etc/dropsight/dropsight.yaml")


def settings(file: Path | None, *, overrides: Mapping[str, object] = {}) -> Config:
    """Read the config; raises ConfigError."""
    flags = {"watch": "--watch", "watch.0.path": "--watch", "model.path": "--model", "log.path": "--log"}
    flags |= {"mqtt.url": "--mqtt", "mqtt": "--mqtt"}
    return load(file, overrides=overrides, environ=os.environ, flags=flags)


def show(file: Path | None, *, schema: bool) -> None:
    if schema:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(_schema()), indent=2) + b"\n")
    else:
        sys.stdout.write(dump(settings(file)))


_schema = schema
