"""YAML text to plain values; what YAML itself would accept silently is a fault here."""

from collections.abc import Iterator
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dropsight.bounded import CONFIG_BYTES, read_bounded
from dropsight.config.keys import Key
from dropsight.config.layers import Fault
from dropsight.errors import ConfigError

_TRUTH = "tag:yaml.org,2002:bool"
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# YAML's own constructors trip over values such as `!!int ""` and 2026-13-45, and over depth.
UNREADABLE = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError)


def read_document(path: Path) -> tuple[dict[str, object], list[Fault]]:
    """The values of a file and its doubled keys; raises ConfigError where it holds no keys at all."""
    text = ""
    try:
        text = read_bounded(path, CONFIG_BYTES).decode("utf-8-sig")
        values, faults = parse(text)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError([f"{path}: cannot be read ({reason}); name a config file that is there"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not a text file; name a YAML file, saved as UTF-8"]) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError([f"{path}{_place(error)}: {_problem(error, text)}; fix the YAML there"]) from error
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise ConfigError([f"{path}: is not valid YAML ({reason}); fix the YAML there"]) from error
    if not isinstance(values, dict | None):
        raise ConfigError([f'{path}: contains no keys; give some, such as "device: porch"'])
    return values or {}, faults


def parse(text: str) -> tuple[object, list[Fault]]:
    """The plain values and a fault a doubled key; raises yaml.YAMLError or ValueError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        _take_words_for_words(node, set())
        # Construction folds `<<` into its mapping, so doubled keys are looked for before.
        faults = list(_doubled(node, (), set()))
        return loader.construct_document(node), faults
    finally:
        loader.dispose()


def _take_words_for_words(node: Node, seen: set[int]) -> None:
    """As keys: YAML 1.1 takes on, off, yes and no for truth values."""
    if id(node) in seen or not isinstance(node, MappingNode | SequenceNode):
        return
    seen.add(id(node))
    for each in node.value:
        if isinstance(node, MappingNode) and each[0].tag == _TRUTH:
            each[0].tag = "tag:yaml.org,2002:str"
        for part in each if isinstance(node, MappingNode) else (each,):
            _take_words_for_words(part, seen)


def _doubled(node: Node, key: Key, seen: set[int]) -> Iterator[Fault]:
    if id(node) in seen:  # an alias, perhaps of what holds it
        return
    seen.add(id(node))
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _doubled(item, (*key, str(index)), seen)
    if isinstance(node, MappingNode):
        yield from _doubled_here(node, key)
        for name, value in node.value:
            # Of a key that is a list of lists of lists, the text may be of any length.
            named = name.value if isinstance(name, ScalarNode) else "?"
            yield from _doubled(value, (*key, named), seen)


def _doubled_here(node: MappingNode, key: Key) -> Iterator[Fault]:
    lines: dict[str, int] = {}
    for name, _ in node.value:
        if not isinstance(name, ScalarNode):
            continue
        line = name.start_mark.line + 1
        first = lines.setdefault(name.value, line)
        if first != line:
            yield Fault((*key, name.value), f"is given twice, in lines {first} and {line}; keep one")


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""


def _problem(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark
    if mark and text[mark.index : mark.index + 1] == "\t":
        return "is a tab, where YAML wants spaces"
    return " ".join((error.problem or "is not valid YAML").split())
