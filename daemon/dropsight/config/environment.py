"""Settings from the environment: DROPSIGHT_MQTT__URL is mqtt.url, DROPSIGHT_WATCH__0__PATH watch.0.path."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from dropsight.config.document import parse
from dropsight.config.forms import TEXTUAL
from dropsight.config.keys import PREFIX, Key, form_at, key_of, nearest_variable
from dropsight.config.layers import Layers, Origin

CONFIG_FILE = "DROPSIGHT_CONFIG"  # the config file where none is named
# No settings: that, and what the scripts of the repository take.
_NO_SETTINGS = frozenset({CONFIG_FILE, "DROPSIGHT_PYTHON", "DROPSIGHT_TEST_LIGHT"})


def lay_environment(layers: Layers, environ: Mapping[str, str], *, folder: Path) -> list[str]:
    """Put every DROPSIGHT_ variable over the layers; returns the faults' lines."""
    lines = []
    names = (name for name in environ if name.startswith(PREFIX) and name not in _NO_SETTINGS)
    for name in sorted(names, key=_outer_first):
        fault = _lay_variable(layers, name, environ[name], folder)
        if fault:
            lines.append(f"{name}: {fault}")
    return lines


def _outer_first(name: str) -> tuple[int, list[tuple[int, str]]]:
    key = key_of(name)
    return len(key), [(int(part) if part.isdecimal() else -1, part) for part in key]


def _lay_variable(layers: Layers, name: str, text: str, folder: Path) -> str | None:
    key = key_of(name)
    if form_at(key) is None:
        nearest = nearest_variable(name)
        return f"unknown variable; did you mean {nearest}?" if nearest else "unknown variable; unset it"
    try:
        value = _value(key, text)
        layers.put(key, value, Origin(name=name, folder=folder, key=key))
    except (yaml.YAMLError, ValueError):
        return "cannot be read as YAML; put it in quotes within the quotes of the shell"
    return None


def _value(key: Key, text: str) -> object:
    """A number where a text is wanted is that text: nobody quotes twice for a user named 1234."""
    value, _ = parse(text)
    form = form_at(key)
    wants_text = form is not None and form.reads in TEXTUAL
    return text if wants_text and value is not None and not isinstance(value, str | list | dict) else value
