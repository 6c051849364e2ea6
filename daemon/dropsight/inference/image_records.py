"""What is written of an image or a clip: its record, answered, failed or expired."""

import os
import time
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from dropsight.errors import ImageError
from dropsight.images.header import Header
from dropsight.inference.judging import Found
from dropsight.inference.pipeline import Answer, Prepared
from dropsight.inference.planning import Plan
from dropsight.records import (
    ErrorFacts,
    Expired,
    Failure,
    ImageFacts,
    Kind,
    Latency,
    Result,
    Tag,
    drop_id,
    timestamp,
)


class Tagged(NamedTuple):
    """What is said of a file beside its content; `captured`, ISO 8601 in UTC, takes the place of EXIF's."""

    tags: Mapping[str, Tag] = {}
    captured: str | None = None
    warnings: tuple[str, ...] = ()


UNTAGGED = Tagged()


class Drop(msgspec.Struct, frozen=True):
    """One arrival of one file, by the id of its record.

    `relative` is in the file system's bytes, `wait_ms` from ready to taken; `kind` is what it is taken for.
    """

    id: str
    relative: bytes
    camera: str
    stat: os.stat_result
    wait_ms: float
    kind: Kind = "image"
    tagged: Tagged = UNTAGGED

    @classmethod
    def of(
        cls,
        relative: bytes,
        camera: str,
        stat: os.stat_result,
        *,
        device: str,
        wait_ms: float,
        kind: Kind = "image",
        tagged: Tagged = UNTAGGED,
    ) -> "Drop":
        record_id = drop_id(device, relative, stat.st_size, stat.st_mtime_ns)
        return cls(record_id, relative, camera, stat, wait_ms, kind, tagged)

    @property
    def image_path(self) -> str:
        r"""The path as text; bytes that are not UTF-8 stand as \xNN."""
        return self.relative.decode("utf-8", "backslashreplace")

    @property
    def tags(self) -> dict[str, Tag] | msgspec.UnsetType:
        return dict(self.tagged.tags) or msgspec.UNSET


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
    spent = latency(prepared, answer, wait_ms=drop.wait_ms)
    facts = _image_facts(header, drop, plan)
    made = answered(drop, facts, answer, plan, views=answer.views, at=at, spent=spent)
    warnings = [*prepared.warnings, *drop.tagged.warnings]
    if warnings or explanation:
        made = msgspec.structs.replace(
            made, warnings=warnings or msgspec.UNSET, explanation=explanation or msgspec.UNSET
        )
    return made


def answered(
    drop: Drop, facts: ImageFacts, answer: Found, plan: Plan, *, views: int, at: float, spent: Latency
) -> Result:
    """Make the record of an image or a clip; `views` are how many the predictions are merged from."""
    best = answer.best.predictions
    return Result(
        id=drop.id,
        time=timestamp(at),
        device=plan.device,
        camera=drop.camera,
        image_path=drop.image_path,
        tags=drop.tags,
        kind=drop.kind,
        confidence=best[0].confidence,
        top_5_predictions={str(entry.class_index): entry.confidence for entry in best[:5]},
        predictions=list(best),
        multi_label=plan.spec.multi_label or msgspec.UNSET,
        present=answer.best.present,
        heads=answer.best.heads,
        **msgspec.structs.asdict(answer.best.wording),
        region=answer.region,
        regions=answer.regions,
        image=facts,
        model=plan.model,
        tta=views,
        temperature=plan.temperature,
        tta_stepped_aside=True if plan.hurried else msgspec.UNSET,
        latency_ms=spent,
    )


def failure(drop: Drop, error: ImageError, plan: Plan) -> Failure:
    return Failure(
        id=drop.id,
        time=timestamp(time.time()),
        device=plan.device,
        camera=drop.camera,
        image_path=drop.image_path,
        tags=drop.tags,
        kind=drop.kind,
        error=ErrorFacts(error.code, str(error)),
        model=plan.model,
        latency_ms=Latency(wait=round(drop.wait_ms, 3)),
    )


def expired(drop: Drop, plan: Plan, *, age_seconds: float, max_age_seconds: float) -> Expired:
    return Expired(
        id=drop.id,
        time=timestamp(time.time()),
        device=plan.device,
        camera=drop.camera,
        image_path=drop.image_path,
        tags=drop.tags,
        kind=drop.kind,
        age_seconds=round(age_seconds, 3),
        max_age_seconds=max_age_seconds,
        latency_ms=Latency(wait=round(drop.wait_ms, 3)),
    )


def latency(prepared: Prepared, answer: Answer, *, wait_ms: float) -> Latency:
    """All but the total, which is not over yet."""
    return Latency(
        wait=round(wait_ms, 3),
        decode=round(prepared.decode_ms, 3),
        preprocess=round(prepared.preprocess_ms, 3),
        inference=round(answer.inference_ms, 3),
        postprocess=round(answer.postprocess_ms, 3),
    )


def _image_facts(header: Header, drop: Drop, plan: Plan) -> ImageFacts:
    width, height = header.upright
    captured = drop.tagged.captured or header.captured or timestamp(drop.stat.st_mtime)
    depth = plan.bounds.depth if header.deep else msgspec.UNSET
    return ImageFacts(width, height, drop.stat.st_size, header.format, captured, depth)
