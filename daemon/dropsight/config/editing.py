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


def with_keys(text: str, values: Mapping[str, object]) -> str:
    """Return the text with these keys of its outermost level set; raises ConfigError where it cannot be."""
    found, lines = text, []
    for name, value in values.items():
        line = yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]
        found = _with_key(found, name, line)
        lines.append(f"{name}: {line}")
    if _parsed(found) != {**(yaml.safe_load(text) or {}), **values}:
        raise ConfigError(["\n".join(["it cannot be edited as it stands; write there yourself:", *lines])])
    return found


def _parsed(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _with_key(text: str, name: str, value: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    present = _value(root, name)
    if present is not None:
        start = present.start_mark
        return f"{text[: start.index]}{'' if start.column else ' '}{value}{text[_end(present) :]}"
    if isinstance(root, yaml.MappingNode) and root.flow_style:
        first = root.start_mark.index + 1
        return f"{text[:first]}{name}: {value}{', ' if root.value else ''}{text[first:]}"
    gap = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{gap}{name}: {value}\n"


def _end(node: yaml.Node) -> int:
    """Return where a value ends: a block's own mark stands behind the comments that follow it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


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
