"""Groups of classes by a name of their own, as people speak: cat for tabby, tiger cat, Persian cat."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from pathlib import Path
from typing import NamedTuple

from dropsight.config import Members
from dropsight.errors import ModelError
from dropsight.models.label_files import IMAGENET, FoundLabels, imagenet_names
from dropsight.models.labels import BACKGROUND, class_named, nearest_name, numbers_by_name, plain
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import Sidecar, sidecar_path
from dropsight.models.spec import Group
from dropsight.names import as_shown

_RANGE = re.compile(r"\s*([0-9]{1,9})\s*-\s*([0-9]{1,9})\s*", re.ASCII)
_LONGEST_NAME = 64
# A pattern looks at every label; 1,000 of them for 1,000 classes take half a second.
MOST_LOOKS = 2_000_000
_NO_NAME = "a group's name has 1 to 64 printable characters, without , and :"
_WITHOUT_EFFECT = "groups: no effect, because its classes do not exclude each other"


class FoundGroups(NamedTuple):
    """`faults` say why groups that are given have no effect."""

    groups: tuple[Group, ...] = ()
    source: str = "none"
    faults: tuple[str, ...] = ()


def find_groups(
    path: Path, said: ModelOverrides, sidecar: Sidecar, labels: FoundLabels, *, multi_label: bool
) -> FoundGroups:
    """Return those of the config, the sidecar, the labels' file, or ImageNet's; raises ModelError.

    The confidences of a group are added up, which says nothing where classes do not exclude each other.
    """
    if said.groups is None or said.groups == "off":
        return FoundGroups(source="config")
    wanted, source = _wanted(path, said, sidecar, labels)
    if multi_label:
        return FoundGroups(faults=(_WITHOUT_EFFECT,) if wanted else ())
    if wanted:
        return FoundGroups(_resolved(wanted, labels.names, source), source)
    return _of_imagenet(labels.names)


def _wanted(
    path: Path, said: ModelOverrides, sidecar: Sidecar, labels: FoundLabels
) -> tuple[Mapping[str, Members], str]:
    if isinstance(said.groups, dict):
        return said.groups, "config"
    if sidecar.groups:
        return {str(name): each for name, each in sidecar.groups.items()}, str(sidecar_path(path))
    members: dict[str, list[str | int]] = {}
    for number, name in enumerate(labels.groups):
        if name:
            members.setdefault(name, []).append(number)
    return {name: tuple(each) for name, each in members.items()}, labels.source


def _of_imagenet(labels: Sequence[str]) -> FoundGroups:
    """Return ours where the names are ImageNet's, also behind that of the background."""
    if len(labels) not in {1000, 1001}:
        return FoundGroups()
    first = len(labels) - 1000
    if tuple(labels[first:]) != imagenet_names() or (first and plain(labels[0]) != BACKGROUND):
        return FoundGroups()
    file = Path(__file__).parent / "builtin" / "imagenet_groups.txt"
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    return FoundGroups(tuple(_group(line, first) for line in lines), IMAGENET)


def _group(line: str, first: int) -> Group:
    """Read "squirrel: 335, 336" or "dog: 151-268", the first class being of this number."""
    name, _, members = line.partition(": ")
    classes: list[int] = []
    for part in members.split(", "):
        low, _, high = part.partition("-")
        classes += range(first + int(low), first + int(high or low) + 1)
    return Group(name, tuple(classes))


def _resolved(wanted: Mapping[str, Members], labels: Sequence[str], where: str) -> tuple[Group, ...]:
    naming = _Naming(labels, where)
    found: list[Group] = []
    for name, members in wanted.items():
        if not 0 < len(name) <= _LONGEST_NAME or as_shown(name) != name or set(name) & {",", ":"}:
            raise ModelError(f"{where}: groups: {as_shown(name)[:_LONGEST_NAME]!r}: {_NO_NAME}")
        each = (members,) if isinstance(members, str | int) else members
        classes = {number for member in each for number in naming.classes(member, name)}
        if not classes:
            raise ModelError(f"{where}: groups.{name}: names no class; give labels or ranges of numbers")
        found.append(Group(name, tuple(sorted(classes))))
    return tuple(found)


class _Naming:
    """What members of groups stand for; of all together there is a bound, whoever has written them."""

    def __init__(self, labels: Sequence[str], where: str) -> None:
        self._labels, self._where = labels, where
        self._numbers, self._plain = numbers_by_name(labels), [plain(label) for label in labels]
        self._spent = 0

    def classes(self, member: str | int, group: str) -> Sequence[int]:
        """Return those of a label, a number, a range of numbers, or a pattern of labels."""
        text = str(member)
        known = class_named(text, self._numbers, len(self._labels))
        if known is not None:
            self._spend(1)
            return (known,)
        if span := _RANGE.fullmatch(text):
            first, last = int(span[1]), int(span[2])
            if first <= last < len(self._labels):
                self._spend(last - first)
                return range(first, last + 1)
            fault = f"{text}: its classes are 0 to {len(self._labels) - 1}, the lower number first"
            raise ModelError(f"{self._where}: groups.{group}: {fault}")
        if any(sign in text for sign in "*?["):
            self._spend(len(self._labels))
            fits = re.compile(translate(plain(text))).match
            if found := [number for number, label in enumerate(self._plain) if fits(label)]:
                return found
        meant = nearest_name(plain(text), self._numbers)
        way_out = (
            "give a label, a number or a range"
            if meant is None
            else f"did you mean {self._labels[self._numbers[meant]]}?"
        )
        raise ModelError(f"{self._where}: groups.{group}: the model has no class {text}; {way_out}")

    def _spend(self, classes: int) -> None:
        self._spent += classes
        if self._spent > MOST_LOOKS:
            text = f"groups: their members stand for more than {MOST_LOOKS:,} classes together"
            raise ModelError(f"{self._where}: {text}; name fewer, or ranges of numbers")
