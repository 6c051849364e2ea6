"""A row's columns of an answer: what a photo or a clip shows, in a model's words."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from dropsight.archive.rows import HeadColumns
from dropsight.inference.results import ClipResult
from dropsight.inference.wording import Wording
from dropsight.records import HeadAnswer, Heads, Prediction, Present

_T = TypeVar("_T")


def answer_of(
    words: Wording | ClipResult, predictions: Sequence[Prediction], present: Present, heads: Heads
) -> dict[str, Any]:
    """Return a row's columns that say what a file shows."""
    return {
        "predicted_class": words.predicted_class,
        "label": words.label,
        "confidence": predictions[0].confidence,
        "top_classes": [each.class_index for each in predictions],
        "top_confidences": [each.confidence for each in predictions],
        "group": words.group or None,
        "group_confidence": _or_none(words.group_confidence),
        "present": _or_none(present),
        "heads": [_head(name, head) for name, head in (heads or {}).items()] or None,
        "prediction_set": _or_none(words.prediction_set),
    }


def _head(name: str, head: HeadAnswer) -> HeadColumns:
    return HeadColumns(
        name, head.predicted_class, head.label, head.confidence, head.predictions, _or_none(head.present)
    )


def _or_none(value: _T | msgspec.UnsetType) -> _T | None:
    return None if isinstance(value, msgspec.UnsetType) else value
