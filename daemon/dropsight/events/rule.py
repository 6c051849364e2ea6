"""A rule as the machine takes it: whose answers, how sure, how often, and who is told."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from dropsight.config.event_keys import USUAL_CONFIDENCE
from dropsight.events.sighting import GROUP, Sighting
from dropsight.records import Tag

KEPT_SHARE = 0.75
"""Of the confidence that an event needs once, what its other answers need, where a rule does not say."""
COUNTED_SHARE = 0.5
"""Of the confidence that answers need on average, what each of them needs, where a rule does not say."""
_WILD = frozenset("*?[")


class Least(NamedTuple):
    """How sure an answer must be: of its own, to keep an event going, and to count towards one at all."""

    sure: float
    kept: float
    counted: float


class Rule(msgspec.Struct, frozen=True):
    """`confirm` is (2, 3) for two of three answers, one as sure as `confidence`, the others as `keep`.

    If `on_average`, these two are as sure as `confidence` together, whatever the one lacks.

    `active` tells whether an event may begin then.

    `unless` names another rule, and how many seconds before and after its events none of this one begins.
    """

    name: str
    labels: tuple[str, ...]
    cameras: tuple[str, ...] = ("*",)
    confidence: Mapping[str, float] = {}
    confirm: tuple[int, int] = (2, 3)
    on_average: bool = False
    within: float = 60.0
    keep: float | None = None
    end_after: float = 120.0
    cooldown: float = 300.0
    renotify_above: tuple[float, ...] = ()
    active: Callable[[float], bool] | None = None
    tags: Mapping[str, Tag] = {}
    unless: tuple[str, float] | None = None
    notify: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def watches(self, camera: str) -> bool:
        return any(_matches(camera, pattern) for pattern in self.cameras)

    def takes(self, sighting: Sighting) -> bool:
        """Whether it has the tags that are asked for; what has not is as if it had not been."""
        found = sighting.tags
        return all(_matches(_said(found.get(name)), _said(value)) for name, value in self.tags.items())

    def least(self, label: str) -> Least | None:
        """How sure a label must be; None for no label of it."""
        if not any(names(pattern, label) for pattern in self.labels):
            return None
        sure = self.sure(label)
        if self.keep is not None:
            return Least(sure, min(self.keep, sure), min(self.keep, sure))
        return Least(sure, sure * KEPT_SHARE, sure * (COUNTED_SHARE if self.on_average else KEPT_SHARE))

    def sure(self, label: str) -> float:
        """How sure it must be once in an event: by itself, else by the longest pattern that it matches."""
        for pattern in sorted(
            self.confidence, key=lambda each: (each.casefold() != label.casefold(), -len(each))
        ):
            if pattern == "*" or names(pattern, label):
                return self.confidence[pattern]
        return USUAL_CONFIDENCE


def names(pattern: str, label: str) -> bool:
    """Groups are meant only by patterns that say so."""
    if label.startswith(GROUP) and not pattern.startswith(GROUP):
        return False
    return _matches(label, pattern)


def _matches(text: str, pattern: str) -> bool:
    text, pattern = text.casefold(), pattern.casefold()
    return text == pattern or (not _WILD.isdisjoint(pattern) and fnmatchcase(text, pattern))


def _said(value: Tag | None) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def in_order(rules: Sequence[Rule]) -> list[Rule]:
    """Each behind the one that its `unless` names; none may lead back to itself."""
    by_name = {rule.name: rule for rule in rules}
    ordered: dict[str, Rule] = {}

    def add(rule: Rule) -> None:
        if rule.unless and rule.unless[0] in by_name and rule.unless[0] not in ordered:
            add(by_name[rule.unless[0]])
        ordered.setdefault(rule.name, rule)

    for rule in rules:
        add(rule)
    return list(ordered.values())
