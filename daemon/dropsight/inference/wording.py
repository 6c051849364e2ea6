"""What an answer is called: by its class, by its group, or not at all where it is too flat to be one."""

from collections.abc import Iterable, Sequence
from math import log
from operator import itemgetter
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.config import Inference
from dropsight.models.spec import Group, ModelSpec
from dropsight.records import LEAST_OF_GROUP, NO_CLASS, UNKNOWN, Groups, Prediction, Share
from dropsight.records import Group as GroupName

Rows = NDArray[np.float32]  # (..., classes) or (..., groups)

_FEW = 5
_LEAST_REST = 1e-9
# Of a prediction's rounding; and more of flatness than it takes or adds, of so few of them.
_STEP, _ROUNDED = 1e-6, 1e-3


class Wording(msgspec.Struct, frozen=True):
    """The keys of a record that say what it shows, in words; see `dropsight.records.Result`."""

    predicted_class: int
    label: str
    group: GroupName = msgspec.UNSET
    group_confidence: Share = msgspec.UNSET
    groups: Groups = msgspec.UNSET
    would_be: str | msgspec.UnsetType = msgspec.UNSET
    prediction_set: list[str] | msgspec.UnsetType = msgspec.UNSET


class GroupSums:
    """Adds up the probabilities of each group's classes, all of them in one pass."""

    def __init__(self, groups: tuple[Group, ...]) -> None:
        self.names = [group.name for group in groups]
        self._order = np.concatenate([np.array(group.classes) for group in groups])
        self._starts = np.cumsum([0, *(len(group.classes) for group in groups[:-1])])
        self._classes = {group.name: frozenset(group.classes) for group in groups}

    def of(self, probabilities: Rows) -> Rows:
        """Return (..., groups) of (..., classes)."""
        sums: Rows = np.add.reduceat(probabilities.take(self._order, axis=-1), self._starts, axis=-1)
        return sums

    def holds(self, group: str, class_index: int) -> bool:
        return class_index in self._classes[group]


class Namer(msgspec.Struct, frozen=True):
    """`unknown` is the flatness above which an answer is none, `least` from where on a set holds a class."""

    labels: tuple[str, ...]
    sums: GroupSums | None
    unknown: float | None
    least: float | None

    @classmethod
    def of(cls, spec: ModelSpec, inference: Inference) -> Self:
        unknown = unknown_above(spec, inference)
        return cls(
            spec.labels,
            GroupSums(spec.groups) if spec.groups else None,
            unknown,
            spec.sets.least if spec.sets and not spec.multi_label else None,
        )

    def name(self, merged: Rows, likely: Sequence[Prediction], sums: Rows | None = None) -> Wording:
        """Name what is most likely of (classes,), of which `likely` are some, the best first.

        `sums` are the groups', where they are not those of it.
        """
        best = likely[0]
        among = msgspec.UNSET if self.least is None else self._set(merged, best, self.least)
        if self.unknown is not None and is_flatter(merged, self.unknown, likely):
            return Wording(NO_CLASS, UNKNOWN, would_be=best.label, prediction_set=among)
        if self.sums is None:
            return Wording(best.class_index, best.label, prediction_set=among)
        found = (self.sums.of(merged) if sums is None else sums).tolist()
        groups = groups_in_words(zip(self.sums.names, found, strict=True))
        first = next(iter(groups), None)
        if first is None or not self.sums.holds(first, best.class_index):
            return Wording(best.class_index, best.label, groups=groups, prediction_set=among)
        return Wording(best.class_index, best.label, first, groups[first], groups, prediction_set=among)

    def _set(self, merged: Rows, best: Prediction, least: float) -> list[str]:
        """Return the labels of the classes that are likely enough, the best first, which is always in it."""
        within = np.flatnonzero(merged >= least)
        ranked = within[np.argsort(-merged[within], kind="stable")]
        return [self.labels[each] for each in ranked] or [best.label]


UNNAMED = Namer((), None, None, None)
"""In place of one that is yet to be made."""


def groups_in_words(sums: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return those worth a word, the surest first."""
    worth = [(name, round(share, 6)) for name, share in sums if share >= LEAST_OF_GROUP]
    return dict(sorted(worth, key=_share, reverse=True) if len(worth) > 1 else worth)


_share = itemgetter(1)


def flatness(probabilities: Rows) -> float:
    """Return the entropy -sum p log p of (classes,) as a share of the most there can be, log n.

    0 is sure of one class, 1 gives all the same (Shannon 1948). What an integer model's probabilities lack
    to 1 is shared among the classes that it rounded to zero; of sums above 1, as a clip's, the shares count.
    """
    classes = len(probabilities)
    some = probabilities[probabilities > 0].astype(np.float64)
    if classes < 2 or not len(some):
        return 1.0
    total, zeros = float(some.sum()), classes - len(some)
    rest = max(1 - total, 0.0) if zeros else 0.0
    if not rest:
        some /= total
    entropy = -float(np.dot(some, np.log(some)))
    if rest:
        entropy -= rest * log(rest / zeros)
    return min(max(entropy / log(classes), 0.0), 1.0)


def is_flatter(probabilities: Rows, least: float, likely: Sequence[Prediction]) -> bool:
    """Return whether `flatness` is above this; `likely` are some of the classes, and mostly tell."""
    return not _at_most(probabilities, least - _ROUNDED, likely) and flatness(probabilities) > least


def _at_most(probabilities: Rows, most: float, likely: Sequence[Prediction]) -> bool:
    """Return whether a few classes show that `flatness` is no more than this, whatever the others are.

    It is most where the m others share what the few leave, r, alike: -sum p log p - r log(r / m).
    """
    total = max(float(probabilities.sum()), 1.0)
    shares = [each.confidence / total for each in likely[:_FEW]]
    others, rest = len(probabilities) - len(shares), max(1 - sum(shares), _LEAST_REST)
    if others < 1 or not shares[-1] or (shares[-1] + _STEP) * others < rest:
        return False
    entropy = -sum([share * log(share) for share in shares]) - rest * log(rest / others)
    return entropy <= most * log(len(probabilities))


def unknown_above(spec: ModelSpec, inference: Inference) -> float | None:
    """Return the flatness above which an answer is none, None where any is an answer."""
    if inference.unknown == "off" or spec.multi_label:
        return None
    return spec.unknown if inference.unknown == "auto" else inference.unknown


def without_effect(spec: ModelSpec, inference: Inference) -> str | None:
    """Say why `inference.unknown` does nothing for this model, and the way out."""
    if inference.unknown == "off" or unknown_above(spec, inference) is not None:
        return None
    if spec.multi_label:
        return "inference.unknown: it has no effect, as the model's classes do not exclude each other"
    return (
        "inference.unknown: auto has no effect, as the model has no threshold of its own; "
        "dropsight calibrate fits one, or give a number"
    )
