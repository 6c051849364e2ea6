"""Results of the runtime, for one image or many."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from dropsight.errors import ImageError
from dropsight.inference import image_records
from dropsight.inference.clips import ClipAnswer
from dropsight.inference.pipeline import Answer, Prepared
from dropsight.inference.planning import Plan
from dropsight.inference.result_files import whole
from dropsight.names import as_json
from dropsight.records import (
    ClipFacts,
    ErrorFacts,
    Group,
    Groups,
    Heads,
    Latency,
    Prediction,
    Present,
    Regions,
    Share,
)


class ImageResult(msgspec.Struct, frozen=True, kw_only=True):
    """`image_path` is None for arrays and bytes; `top_5_predictions` maps class to confidence."""

    image_path: str | None
    predicted_class: int
    label: str
    confidence: float
    top_5_predictions: dict[str, float]
    predictions: list[Prediction]
    multi_label: bool | msgspec.UnsetType = msgspec.UNSET
    present: Present = msgspec.UNSET
    """Of a model whose classes may be there at once, those that are, the surest first."""
    heads: Heads = msgspec.UNSET
    group: Group = msgspec.UNSET
    group_confidence: Share = msgspec.UNSET
    groups: Groups = msgspec.UNSET
    would_be: str | msgspec.UnsetType = msgspec.UNSET
    """The label that it would have been, where it is too flat an answer: `label` is then "unknown"."""
    prediction_set: list[str] | msgspec.UnsetType = msgspec.UNSET
    region: str | msgspec.UnsetType = msgspec.UNSET
    regions: Regions = msgspec.UNSET
    """Of a camera whose config cuts parts out of its pictures; the other keys are the surest one's."""
    tta: int
    temperature: float
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET
    """What is wrong with the file, where there was a picture all the same."""
    latency_ms: Latency

    def to_json(self) -> str:
        return msgspec.json.format(as_json(self), indent=2).decode()


class ClipResult(ImageResult, frozen=True, kw_only=True):
    """An image's keys and the clip's facts; `latency_ms` sums up the stages over its frames."""

    kind: str = "clip"
    clip: ClipFacts


class ImageFailure(msgspec.Struct, frozen=True, kw_only=True):
    image_path: str | None
    error: ErrorFacts


Outcome: TypeAlias = ImageResult | ImageFailure


class BatchResults(msgspec.Struct, frozen=True, kw_only=True):
    total_images: int
    total_time_ms: float
    avg_time_per_image_ms: float
    model_path: str
    model_format: str
    tta_enabled: bool
    results: Sequence["Outcome | ClipResult"]

    def to_json(self) -> str:
        return msgspec.json.format(as_json(self), indent=2).decode()

    def write(self, path: Path) -> None:
        """Write the JSON whole or not at all."""
        with whole(path) as file:
            file.write(self.to_json().encode() + b"\n")


def result_of(
    path: str | None, prepared: Prepared, answer: Answer, plan: Plan, *, total_ms: float
) -> ImageResult:
    latency = msgspec.structs.replace(
        image_records.latency(prepared, answer, wait_ms=0.0), total=round(total_ms, 3)
    )
    return ImageResult(latency_ms=latency, **_answered(path, answer, prepared.warnings, plan))


def clip_result_of(path: str, answer: ClipAnswer, plan: Plan) -> ClipResult:
    return ClipResult(
        clip=answer.clip, latency_ms=answer.latency, **_answered(path, answer, answer.warnings, plan)
    )


def _answered(
    path: str | None, answer: Answer | ClipAnswer, warnings: Sequence[str], plan: Plan
) -> dict[str, Any]:
    """Return the keys that images and clips have in common."""
    best = answer.predictions[0]
    return {
        "image_path": path,
        **msgspec.structs.asdict(answer.best.wording),
        "confidence": best.confidence,
        "top_5_predictions": {str(each.class_index): each.confidence for each in answer.predictions[:5]},
        "predictions": list(answer.predictions),
        "multi_label": plan.spec.multi_label or msgspec.UNSET,
        "present": answer.best.present,
        "heads": answer.best.heads,
        "region": answer.region,
        "regions": answer.regions,
        "tta": answer.views,
        "temperature": plan.temperature,
        "warnings": list(warnings) or msgspec.UNSET,
    }


def failure_of(path: str | None, error: ImageError) -> ImageFailure:
    return ImageFailure(image_path=path, error=ErrorFacts(error.code, str(error)))


def outcome_of(path: str | None, prepared: Prepared, answer: Answer | ImageError, plan: Plan) -> Outcome:
    """Of one among many, whose time is that of its stages."""
    if isinstance(answer, ImageError):
        return failure_of(path, answer)
    spent_ms = prepared.decode_ms + prepared.preprocess_ms + answer.inference_ms + answer.postprocess_ms
    return result_of(path, prepared, answer, plan, total_ms=spent_ms)
