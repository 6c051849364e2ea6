"""What is written of an image: its record, answered, failed or expired."""

import os
import time
from datetime import UTC, datetime

import msgspec

from dropsight.errors import ImageError
from dropsight.images.header import Header
from dropsight.inference.pipeline import Answer, Plan, Prepared
from dropsight.models.spec import ModelSpec
from dropsight.records import (
    ErrorFacts,
    Expired,
    Failure,
    ImageFacts,
    Latency,
    ModelFacts,
    Result,
    drop_id,
)

FIRST_SECOND = datetime.min.replace(tzinfo=UTC).timestamp()
LAST_SECOND = float(int(datetime.max.replace(tzinfo=UTC).timestamp()) - 1)


class Drop(msgspec.Struct, frozen=True):
    """One arrival of one file, by the id of its record.

    `relative` is in the file system's bytes, `wait_ms` from ready to taken.
    """

    id: str
    relative: bytes
    camera: str
    stat: os.stat_result
    wait_ms: float

    @classmethod
    def of(cls, relative: bytes, camera: str, stat: os.stat_result, *, device: str, wait_ms: float) -> "Drop":
        record_id = drop_id(device, relative, stat.st_size, stat.st_mtime_ns)
        return cls(record_id, relative, camera, stat, wait_ms)

    @property
    def image_path(self) -> str:
        r"""The path as text; bytes that are not UTF-8 stand as \xNN."""
        return self.relative.decode("utf-8", "backslashreplace")


def result(
    drop: Drop,
    header: Header,
    prepared: Prepared,
    answer: Answer,
    plan: Plan,
    *,
    at: float,
    explanation: str | None = None,
) -> Result:
    """Make the record of an image that was answered `at`, in seconds since the epoch."""
    best = answer.predictions[0]
    return Result(
        id=drop.id,
        time=timestamp(at),
        device=plan.device,
        camera=drop.camera,
        image_path=drop.image_path,
        predicted_class=best.class_index,
        label=best.label,
        confidence=best.confidence,
        top_5_predictions={str(entry.class_index): entry.confidence for entry in answer.predictions[:5]},
        predictions=list(answer.predictions),
        multi_label=plan.spec.multi_label or msgspec.UNSET,
        heads=answer.heads,
        image=_image_facts(header, drop.stat, plan),
        model=model_facts(plan.spec),
        tta=answer.views,
        temperature=plan.temperature,
        tta_stepped_aside=True if plan.hurried else msgspec.UNSET,
        warnings=list(prepared.warnings) or msgspec.UNSET,
        explanation=explanation or msgspec.UNSET,
        latency_ms=latency(prepared, answer, wait_ms=drop.wait_ms),
    )


def failure(drop: Drop, error: ImageError, plan: Plan) -> Failure:
    return Failure(
        id=drop.id,
        time=timestamp(time.time()),
        device=plan.device,
        camera=drop.camera,
        image_path=drop.image_path,
        error=ErrorFacts(error.code, str(error)),
        model=model_facts(plan.spec),
        latency_ms=Latency(wait=_rounded(drop.wait_ms)),
    )


def expired(drop: Drop, plan: Plan, *, age_seconds: float, max_age_seconds: float) -> Expired:
    return Expired(
        id=drop.id,
        time=timestamp(time.time()),
        device=plan.device,
        camera=drop.camera,
        image_path=drop.image_path,
        age_seconds=round(age_seconds, 3),
        max_age_seconds=max_age_seconds,
        latency_ms=Latency(wait=_rounded(drop.wait_ms)),
    )


def model_facts(spec: ModelSpec) -> ModelFacts:
    return ModelFacts(spec.name, spec.format, spec.quantization, spec.digest)


def timestamp(seconds: float) -> str:
    """Write seconds since the epoch as ISO 8601 in UTC, with microseconds; years end at 1 and 9999."""
    return (
        datetime.fromtimestamp(min(max(seconds, FIRST_SECOND), LAST_SECOND), UTC).isoformat(
            timespec="microseconds"
        )[:-6]
        + "Z"
    )


def latency(prepared: Prepared, answer: Answer, *, wait_ms: float) -> Latency:
    """All but the total, which is not over yet."""
    return Latency(
        wait=_rounded(wait_ms),
        decode=_rounded(prepared.decode_ms),
        preprocess=_rounded(prepared.preprocess_ms),
        inference=_rounded(answer.inference_ms),
        postprocess=_rounded(answer.postprocess_ms),
    )


def _image_facts(header: Header, stat: os.stat_result, plan: Plan) -> ImageFacts:
    width, height = header.upright
    captured = header.captured or timestamp(stat.st_mtime)
    depth = plan.bounds.depth if header.deep else msgspec.UNSET
    return ImageFacts(width, height, stat.st_size, header.format, captured, depth)


def _rounded(milliseconds: float) -> float:
    return round(milliseconds, 3)
