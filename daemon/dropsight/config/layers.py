"""Layers of settings: the file at the bottom, the environment above it, the command line on top."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from dropsight.config.keys import Key, dotted


class Fault(msgspec.Struct, frozen=True):
    """`also` names the other keys that it is about."""

    key: Key
    text: str
    also: tuple[Key, ...] = ()


class Origin(msgspec.Struct, frozen=True):
    """Where a value was said; its relative paths start from `folder`."""

    name: str
    folder: Path
    key: Key = ()
    names_all: bool = False  # a flag: the user never saw the keys below it

    def label(self, key: Key) -> str:
        rest = () if self.names_all else key[len(self.key) :]
        return ": ".join(part for part in (self.name, dotted(rest)) if part)


class Layers:
    """The values as they were said, not yet checked, each with its origin."""

    def __init__(self, base: Origin, values: Mapping[str, object]) -> None:
        self.base = base
        self.values: object = values
        self.faults: list[Fault] = []
        self._origins: dict[Key, Origin] = {}

    def put(self, key: Key, value: object, origin: Origin) -> None:
        """Lay a value over what is there."""
        try:
            self.values = _with(self.values, key, value)
        except IndexError as error:
            self.faults.append(Fault(key, str(error)))
        self._origins = {known: at for known, at in self._origins.items() if known[: len(key)] != key}
        self._origins[key] = origin

    def origin(self, key: Key) -> Origin:
        prefixes = (key[:length] for length in range(len(key), 0, -1))
        return next((self._origins[prefix] for prefix in prefixes if prefix in self._origins), self.base)

    def line(self, fault: Fault) -> str:
        return f"{self.origin(fault.key).label(fault.key)}: {fault.text}"


def _with(node: object, key: Key, value: object) -> object:
    """A copy of the node with one value replaced; what holds no keys stays, for its own fault."""
    if not key:
        return value
    head, rest = key[0], key[1:]
    if isinstance(node, list):
        return _with_item(node, int(head), rest, value) if head.isdigit() else node
    if node is None and not head.isdigit():
        node = {}
    if not isinstance(node, dict):
        return node
    unsaid: object = [{}] if rest and rest[0].isdigit() else None
    return {**node, head: _with(node.get(head, unsaid), rest, value)}


def _with_item(items: list[object], index: int, rest: Key, value: object) -> list[object]:
    if index > len(items):
        raise IndexError(f"there is no item {index} yet; the next free number is {len(items)}")
    item = items[index] if index < len(items) else {}
    return [*items[:index], _with(item, rest, value), *items[index + 1 :]]
