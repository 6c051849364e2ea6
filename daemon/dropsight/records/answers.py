"""What a picture was found to show, and what people read of it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Prediction(msgspec.Struct, frozen=True, gc=False):
    class_index: int = msgspec.field(name="class")
    label: str
    confidence: float


Present = list[Prediction] | msgspec.UnsetType
"""The classes that are there, the surest first, of a model by which several may be; else unset."""


def shown(best: str, present: Present) -> list[str]:
    """Return the labels of what is there: of classes that exclude each other, the best one's."""
    return [best] if isinstance(present, msgspec.UnsetType) else [each.label for each in present]


def in_words(best: str, present: Present) -> str:
    return ", ".join(shown(best, present)) or "nothing"


UNKNOWN = "unknown"
"""The label of an answer that is too flat to be one; its class is NO_CLASS."""
NO_CLASS = -1

Group = str | msgspec.UnsetType
"""Of the groups of classes that whose confidences add up to most, where it is as sure as the best class."""
Share = float | msgspec.UnsetType
Groups = dict[str, float] | msgspec.UnsetType
"""By name, what the confidences of each group's classes add up to, the surest first; unset without groups.

Those below LEAST_OF_GROUP are left out.
"""
LEAST_OF_GROUP = 0.01


class Readable(Protocol):
    """What people read of an answer, be it a record's, a result's or a region's."""

    @property
    def label(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def group(self) -> Group: ...
    @property
    def group_confidence(self) -> Share: ...


def shown_labels(answer: Readable) -> list[str]:
    """Return what people read, each by itself, of classes that may be there at once."""
    return [answer.group] if answer.group else shown(answer.label, getattr(answer, "present", msgspec.UNSET))


def shown_label(answer: Readable) -> str:
    """Return what people read: the group where there is one, else the label, or all that are there."""
    return ", ".join(shown_labels(answer)) or "nothing"


def shown_confidence(answer: Readable) -> float:
    """Return how sure that is."""
    return answer.group_confidence or answer.confidence


class HeadAnswer(msgspec.Struct, frozen=True, gc=False):
    """What one of a model's several heads says."""

    predicted_class: int
    label: str
    confidence: float
    predictions: list[Prediction]
    multi_label: bool | msgspec.UnsetType = msgspec.UNSET
    present: Present = msgspec.UNSET

    @classmethod
    def of(cls, predictions: Sequence[Prediction], present: Present = msgspec.UNSET) -> "HeadAnswer":
        best, several = predictions[0], present is not msgspec.UNSET
        return cls(
            best.class_index,
            best.label,
            best.confidence,
            list(predictions),
            multi_label=several or msgspec.UNSET,
            present=present,
        )


Heads = dict[str, HeadAnswer] | msgspec.UnsetType
"""By name, the main answer first; unset for a model that has but one answer."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of the upright picture."""


class Region(msgspec.Struct, frozen=True, gc=False):
    """What one of the parts shows that a camera's config cuts out of its pictures."""

    name: str
    box: Box
    predicted_class: int
    label: str
    confidence: float
    predictions: list[Prediction]
    present: Present = msgspec.UNSET
    heads: Heads = msgspec.UNSET
    group: Group = msgspec.UNSET
    group_confidence: Share = msgspec.UNSET
    groups: Groups = msgspec.UNSET
    would_be: str | msgspec.UnsetType = msgspec.UNSET
    prediction_set: list[str] | msgspec.UnsetType = msgspec.UNSET


Regions = list[Region] | msgspec.UnsetType
"""In the order of the config; unset where a picture is seen as one."""
