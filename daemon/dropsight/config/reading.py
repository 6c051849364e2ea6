"""From file, environment and command line to one checked Config."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dropsight.config.document import read_document
from dropsight.config.environment import CONFIG_FILE, lay_environment
from dropsight.config.keys import Key, key_at
from dropsight.config.layers import Fault, Layers, Origin
from dropsight.config.rules import broken_rules, keys_without_effect
from dropsight.config.tree import Config
from dropsight.config.values import Reading
from dropsight.errors import ConfigError

log = logging.getLogger(__name__)


def load(
    path: Path | None,
    *,
    overrides: Mapping[str, object] = {},
    environ: Mapping[str, str] = {},
    flags: Mapping[str, str] = {},
    anew: bool = False,
) -> Config:
    """The settings, all paths absolute; raises ConfigError with one line per fault.

    `overrides` go by dotted key; `flags` names the command line's flag for a dotted key, for the faults. When
    it is read `anew`, a file is not to be empty, as it is for a moment while somebody writes it.
    """
    here = Path.cwd()
    if path is None and environ.get(CONFIG_FILE):
        path = Path(environ[CONFIG_FILE])
    folder = here / path.parent if path else here
    values, faults = read_document(path) if path else ({}, [])
    if path and anew and not values:
        raise ConfigError([f"{path}: contains no keys; restart dropsight to run with the defaults"])
    layers = Layers(Origin(name=str(path or ""), folder=folder), values)
    lines = lay_environment(layers, environ, folder=folder)
    for name, value in overrides.items():
        layers.put(key_at(name), value, _flag(name, flags.get(name), here))
    reading = Reading(layers)
    config = reading.section(Config, layers.values, ())
    faults += layers.faults + reading.faults
    if config is not None:
        faults += _not_yet_told(broken_rules(config), reading.faults)
    lines += map(layers.line, faults)
    if lines or config is None:
        raise ConfigError(lines)
    for text in keys_without_effect(config):
        log.warning("%s", text)
    return config


def _flag(name: str, flag: str | None, folder: Path) -> Origin:
    return Origin(name=flag or f"command line: {name}", folder=folder, key=key_at(name), names_all=bool(flag))


def _not_yet_told(faults: Iterable[Fault], told: Sequence[Fault]) -> Iterator[Fault]:
    """Drop what follows from a value that was refused, and stands at its default only for that."""
    for fault in faults:
        if not any(_is_within(key, other.key) for key in (fault.key, *fault.also) for other in told):
            yield fault


def _is_within(key: Key, other: Key) -> bool:
    shorter = min(len(key), len(other))
    return key[:shorter] == other[:shorter]
