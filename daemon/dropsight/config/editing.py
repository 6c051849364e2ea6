"""Setting single keys in a YAML config, its comments and all the rest left as they are."""

from collections.abc import Mapping

import yaml

from dropsight.config.keys import Key, dotted
from dropsight.errors import ConfigError


def with_values(text: str, values: Mapping[Key, int | float | str]) -> str:
    """Return the text with these keys set; raises ConfigError where a section is no mapping.

    Keys are two deep: a section and its key, as ("inference", "workers").
    """
    for key, value in values.items():
        text = _with(text, key, yaml.safe_dump(value).splitlines()[0])
    return text


def _with(text: str, key: Key, value: str) -> str:
    section, name = key
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    line = f"  {name}: {value}\n"
    found = _value(root, section)
    if found is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}{section}:\n{line}"
    if not isinstance(found, yaml.MappingNode):
        if isinstance(found, yaml.ScalarNode) and found.value in {"", "null", "~"}:
            return f"{text[: found.start_mark.index].rstrip()}\n{line}{text[found.end_mark.index :].lstrip()}"
        raise ConfigError([f"{section}: contains no keys, so {dotted(key)} cannot be set"])
    present = _value(found, name)
    if present is not None:
        return text[: present.start_mark.index] + value + text[present.end_mark.index :]
    first = found.start_mark
    if found.flow_style:  # {a: 1} on one line
        comma = ", " if found.value else ""
        return f"{text[: first.index + 1]}{name}: {value}{comma}{text[first.index + 1 :]}"
    return f"{text[: first.index]}{name}: {value}\n{' ' * first.column}{text[first.index :]}"


def _value(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)
