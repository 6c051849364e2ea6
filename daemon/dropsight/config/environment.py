"""Settings from the environment: DROPSIGHT_MQTT__URL is mqtt.url, DROPSIGHT_WATCH__0__PATH watch.0.path."""

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from dropsight.config.document import parse
from dropsight.config.forms import TEXTUAL
from dropsight.config.keys import PREFIX, Key, form_at, key_of, nearest_variable
from dropsight.config.layers import Layers, Origin

log = logging.getLogger(__name__)

CONFIG_FILE = "DROPSIGHT_CONFIG"  # the config file where none is named
# No settings: that, and what the scripts of the repository take.
_NO_SETTINGS = frozenset(
    {CONFIG_FILE, "DROPSIGHT_PYTHON", "DROPSIGHT_TEST_HA_PYTHON", "DROPSIGHT_TEST_LIGHT"}
)
# What Kubernetes and Docker's links set in every container beside a service whose name starts as ours.
_SERVICE_LINK = re.compile(
    r"DROPSIGHT_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def lay_environment(layers: Layers, environ: Mapping[str, str], *, folder: Path) -> list[str]:
    """Put every DROPSIGHT_ variable over the layers; returns the faults' lines, and warns of unknown ones."""
    lines = []
    for text in unknown_variables(environ):
        log.warning("%s", text)
    for name in sorted(filter(_is_known, _ours(environ)), key=_outer_first):
        fault = _lay_variable(layers, name, environ[name], folder)
        if fault:
            lines.append(f"{name}: {fault}")
    return lines


def unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each that is no setting: others may have meant something else by it."""
    for name in _ours(environ):
        if not _is_known(name):
            nearest = nearest_variable(name)
            yield f"{name}: unknown variable, ignored; " + (
                f"did you mean {nearest}?" if nearest else "unset it"
            )


def _ours(environ: Mapping[str, str]) -> list[str]:
    names = (name for name in environ if name.startswith(PREFIX) and name not in _NO_SETTINGS)
    return [name for name in names if not _SERVICE_LINK.fullmatch(name)]


def _is_known(name: str) -> bool:
    return form_at(key_of(name)) is not None


def _outer_first(name: str) -> tuple[int, list[tuple[int, str]]]:
    key = key_of(name)
    return len(key), [(int(part) if part.isdecimal() else -1, part) for part in key]


def _lay_variable(layers: Layers, name: str, text: str, folder: Path) -> str | None:
    key = key_of(name)
    try:
        value = _value(key, text)
        layers.put(key, value, Origin(name=name, folder=folder, key=key))
    except (yaml.YAMLError, ValueError):
        return "is not valid YAML; put it in quotes inside the quotes of the shell"
    return None


def _value(key: Key, text: str) -> object:
    """A number where a text is wanted is that text: nobody quotes twice for a user named 1234."""
    value, _ = parse(text)
    form = form_at(key)
    wants_text = form is not None and form.reads in TEXTUAL
    return text if wants_text and value is not None and not isinstance(value, str | list | dict) else value
