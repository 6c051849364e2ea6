"""The way of one image: open, decode, views, prepare, predict, merge, calibrate, rank.

Pure steps but for the clock, in this order from top to bottom. The daemon's workers call exactly these,
and so does the command line; the threads and queues around them live in classify/worker.py and workers.py,
the record that is made of the answer in image_records.py.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight import crashpoints
from dropsight.config import Inference
from dropsight.errors import ImageError
from dropsight.images.decoding import decode_and_judge
from dropsight.images.framing import Pixels
from dropsight.images.header import Header, check_bounds, read_header
from dropsight.images.jpeg import MOST_MISSING, Decoded
from dropsight.images.looks import Look, look_at
from dropsight.images.opening import Bounds, ImageFile
from dropsight.images.sights import Sight
from dropsight.images.thumbnail import shrink
from dropsight.inference.joining import joined
from dropsight.inference.preparing import ONE_SQUARE, PartsBatch, Preparation
from dropsight.inference.ranking import merge, predictions, present, probabilities
from dropsight.inference.wording import UNNAMED, Namer, Wording
from dropsight.models.features import Features
from dropsight.models.spec import Batch, Model, ModelSpec, Scores
from dropsight.records import Box, HeadAnswer, Heads, Prediction, Present, Region, Regions

THUMBNAIL_PIXELS = 320
Parts: TypeAlias = tuple[tuple[str, slice, ModelSpec], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the steps need to know besides the image, fixed while one model is in force.

    `parts` are the model's heads, of which one that has but one answer is the only one. `sights` are by
    camera, `sight` is that of the image in question, None where all of it is seen.
    """

    device: str
    spec: ModelSpec
    preparation: Preparation
    bounds: Bounds
    inference: Inference
    hurried: bool = False
    looks: bool = False
    thumbnails: bool = False
    sights: Mapping[str, Sight] = field(default_factory=dict, repr=False)
    sight: Sight | None = None
    namer: Namer = field(default=UNNAMED, repr=False, compare=False)
    parts: Parts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole = ("", self.spec.answer, replace(self.spec, features=0))
        object.__setattr__(self, "parts", tuple(self.spec.parts) or (whole,))
        if self.namer is UNNAMED:
            object.__setattr__(self, "namer", Namer.of(self.parts[0][2], self.inference))

    def in_a_hurry(self) -> "Plan":
        """The same without test-time augmentation."""
        return replace(self, inference=msgspec.structs.replace(self.inference, tta=()), hurried=True)

    def of(self, camera: str) -> "Plan":
        """The same for a picture of this camera."""
        sight = self.sights.get(camera)
        return replace(self, sight=sight) if sight else self

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Of the parts that are seen each by itself, none where the whole is."""
        return self.sight.boxes if self.sight else ()

    def place_of(self, region: str | msgspec.UnsetType) -> int:
        """Return which of the parts it is that are seen; the first for one that is no longer there."""
        names = list(self.sight.crops) if self.sight else []
        return names.index(region) if region in names else 0

    @property
    def views(self) -> Sequence[str]:
        return self.inference.tta or ("original",)

    @property
    def temperature(self) -> float:
        """The config's times the one that the model was calibrated to."""
        return self.inference.temperature * self.spec.temperature


class Prepared(msgspec.Struct):
    """An image as the model wants it: a batch of its views, in the input tensor's dtype; see `PartsBatch`."""

    batch: Batch
    preprocess_ms: float
    squares: tuple[int, ...] = ONE_SQUARE
    decode_ms: float = 0.0
    look: Look | None = None
    thumbnail: Pixels | None = None
    warnings: tuple[str, ...] = ()

    def release(self) -> None:
        """Give back the pixels: the model has seen them. What was measured stays."""
        self.batch, self.look, self.thumbnail = self.batch[:0].copy(), None, None


class Invoked(msgspec.Struct, frozen=True):
    """What the model made of an image's views; `at` is when, in seconds since the epoch."""

    scores: Scores
    inference_ms: float
    at: float
    squares: tuple[int, ...] = ONE_SQUARE


class Ranking(msgspec.Struct, frozen=True):
    """The best of the main answer, which of its classes are there, and the same of each head.

    `wording` is what the main answer is called.
    """

    predictions: Sequence[Prediction]
    present: Present
    heads: Heads
    wording: Wording


class Found(msgspec.Struct, frozen=True):
    """What a picture shows: of several regions, `best` is the answer of the surest, which `region` names."""

    best: Ranking
    region: str | msgspec.UnsetType = msgspec.UNSET
    regions: Regions = msgspec.UNSET

    @property
    def predictions(self) -> Sequence[Prediction]:
        return self.best.predictions


class Answer(Found, frozen=True, kw_only=True):
    """`views` are how many the predictions are merged from, and the features, if the model gives any."""

    inference_ms: float
    postprocess_ms: float
    views: int
    features: Features | None = None


def read(file: ImageFile, plan: Plan) -> tuple[bytes, Header]:
    data = file.read(plan.bounds)
    return data, examine(data, plan)


def examine(data: bytes, plan: Plan) -> Header:
    """Return what the header says; raises ImageError before anything large is decoded."""
    header = read_header(data)
    check_bounds(header, plan.bounds)
    return header


def prepare(data: bytes, header: Header, plan: Plan, *, look: bool = True) -> Prepared:
    """Decode, upright and as small as the model allows; look, if wanted; then as `prepare_pixels`."""
    crashpoints.reach_image("in_decoding", data)
    started = time.perf_counter()
    pixels, damage = pixels_of(data, header, plan)
    if damage and damage.missing > MOST_MISSING and not plan.bounds.damaged_too:
        raise damage.error()
    decoded = time.perf_counter()
    made = _batch_of(pixels, plan)
    return Prepared(
        made.batch,
        preprocess_ms=(time.perf_counter() - decoded) * 1e3,
        squares=made.squares,
        decode_ms=(decoded - started) * 1e3,
        look=look_at(pixels) if look and plan.looks else None,
        thumbnail=shrink(pixels, longest=THUMBNAIL_PIXELS) if plan.thumbnails else None,
        warnings=(*header.warnings, damage.text) if damage else header.warnings,
    )


def pixels_of(data: bytes, header: Header, plan: Plan) -> Decoded:
    """Decode, upright and as small as the model allows."""
    return decode_and_judge(
        data,
        header,
        at_least=(plan.spec.height, plan.spec.width),
        how=plan.spec.framing.resize,
        crop_fraction=plan.spec.framing.central,
        depth=plan.bounds.depth,
        boxes=plan.boxes,
    )


def prepare_pixels(pixels: Pixels, plan: Plan) -> Prepared:
    """Frame; take the views; normalise and quantize."""
    started = time.perf_counter()
    return _prepared(_batch_of(pixels, plan), since=started)


def prepare_framed(parts: Sequence[Sequence[Pixels]], plan: Plan) -> Prepared:
    """As `prepare_pixels`, of pictures of the model's size, as framing leaves them of each part."""
    started = time.perf_counter()
    return _prepared(plan.preparation.batch_of_parts(parts, plan.views), since=started)


def _prepared(made: PartsBatch, *, since: float) -> Prepared:
    return Prepared(made.batch, preprocess_ms=(time.perf_counter() - since) * 1e3, squares=made.squares)


def _batch_of(pixels: Pixels, plan: Plan) -> PartsBatch:
    return plan.preparation.batch_of(_shown(pixels, plan), plan.views, plan.boxes)


def parts_of(pixels: Pixels, plan: Plan) -> list[list[Pixels]]:
    """Return what the model sees of each part of a picture: one of its size, or several squares."""
    return plan.preparation.pictures(_shown(pixels, plan), plan.boxes)


def _shown(pixels: Pixels, plan: Plan) -> Pixels:
    return plan.sight.shown(pixels) if plan.sight else pixels


def predict(model: Model, prepared: Prepared, plan: Plan) -> Answer:
    """Invoke; merge the views' probabilities, calibrate by temperature, rank."""
    return answer(invoke(model, prepared), plan)


def invoke(model: Model, prepared: Prepared) -> Invoked:
    """The model's part of `predict`, which `answer` completes."""
    started = time.perf_counter()
    scores = _invoke(model, prepared.batch)
    return Invoked(scores, (time.perf_counter() - started) * 1e3, time.time(), prepared.squares)


def predict_many(model: Model, prepared: Sequence[Prepared], plan: Plan) -> list[Answer | ImageError]:
    """Invoke on the views of many images at once; as `predict` for each."""
    started = time.perf_counter()
    scores = _invoke(model, np.concatenate([each.batch for each in prepared]))
    share_ms = (time.perf_counter() - started) * 1e3 / len(prepared)
    now = time.time()
    ends = np.cumsum([len(each.batch) for each in prepared])
    return [
        _answer_or_error(Invoked(part, share_ms, now, each.squares), plan)
        for part, each in zip(np.split(scores, ends[:-1]), prepared, strict=True)
    ]


def _answer_or_error(invoked: Invoked, plan: Plan) -> Answer | ImageError:
    try:
        return answer(invoked, plan)
    except ImageError as error:
        return error


def _invoke(model: Model, batch: Batch) -> Scores:
    crashpoints.reach("in_invoke")
    if crashpoints.is_set("in_invoking") and not np.ptp(batch):
        crashpoints.crash()
    return model.scores(batch)


def answer(invoked: Invoked, plan: Plan) -> Answer:
    """Merge, calibrate and rank; raises ImageError where the model's answer is no number."""
    crashpoints.reach("in_answer")
    started = time.perf_counter()
    found = judged(merged(invoked, plan), plan)
    return Answer(
        found.best,
        found.region,
        found.regions,
        inference_ms=invoked.inference_ms,
        postprocess_ms=(time.perf_counter() - started) * 1e3,
        views=views_of(invoked),
        features=features_of(invoked, plan.spec),
    )


def features_of(invoked: Invoked, spec: ModelSpec) -> Features | None:
    """Return the mean of all views and squares; None of a model that was opened without."""
    if not spec.features:
        return None
    found: Features = invoked.scores[:, spec.columns :].mean(axis=0)
    return found


def views_of(invoked: Invoked) -> int:
    """Return how many there are of each square."""
    return len(invoked.scores) // sum(invoked.squares)


def merged(invoked: Invoked, plan: Plan) -> NDArray[np.float32]:
    """Return each region's squares and views, merged, as probabilities of shape (regions, classes).

    Those of several heads stand one behind the other. Raises ImageError where they are no numbers.
    """
    if invoked.squares == ONE_SQUARE:
        return _merged(invoked.scores, 1, plan)[np.newaxis]
    ends = np.cumsum(invoked.squares) * views_of(invoked)
    regions = zip(np.split(invoked.scores, ends[:-1]), invoked.squares, strict=True)
    return np.stack([_merged(scores, squares, plan) for scores, squares in regions])


def _merged(scores: Scores, squares: int, plan: Plan) -> NDArray[np.float32]:
    temperature = plan.inference.temperature
    with np.errstate(all="ignore"):
        parts = [
            merge(probabilities(joined(scores[:, columns], spec, squares), spec, temperature))
            for _, columns, spec in plan.parts
        ]
    found = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if not np.isfinite(found).all():
        raise ImageError("model_error", "the model's answer is not a number: NaN or infinite")
    return found


def judged(rows: NDArray[np.float32], plan: Plan, sums: Sequence[NDArray[np.float32] | None] = ()) -> Found:
    """Rank what `merged` returned; the surest region is the first of those, the ones that say what it is.

    `sums`, one a region, are those of the groups, where they are not the rows' own.
    """
    sums = sums or [None] * len(rows)
    if plan.sight is None or not plan.sight.crops:
        return Found(ranked(rows[0], plan, sums[0]))
    found = {
        name: ranked(row, plan, own) for name, row, own in zip(plan.sight.crops, rows, sums, strict=True)
    }
    regions = [_region(name, plan.sight.crops[name], each) for name, each in found.items()]
    surest = max(regions, key=lambda each: (each.would_be is msgspec.UNSET, each.confidence))
    return Found(found[surest.name], surest.name, regions)


def _region(name: str, box: Box, found: Ranking) -> Region:
    return Region(
        name=name,
        box=box,
        confidence=found.predictions[0].confidence,
        predictions=list(found.predictions),
        present=found.present,
        heads=found.heads,
        **msgspec.structs.asdict(found.wording),
    )


def ranked(merged: NDArray[np.float32], plan: Plan, sums: NDArray[np.float32] | None = None) -> Ranking:
    """Return the best of the main answer, and what else is likely enough; the same of each head.

    `sums` are those of the groups, where they are not the merged ones'.
    """
    start, found = 0, {}
    for name, _, spec in plan.parts:
        end = start + len(spec.labels)
        found[name] = _answer_of(merged[start:end], spec, plan)
        start = end
    main = next(iter(found.values()))
    wording = plan.namer.name(merged[: len(plan.spec.labels)], main.predictions[0], sums)
    return Ranking(main.predictions, main.present, found if plan.spec.heads else msgspec.UNSET, wording)


def _answer_of(merged: NDArray[np.float32], spec: ModelSpec, plan: Plan) -> HeadAnswer:
    likely = _likely(predictions(merged, spec.labels, plan.inference.top_k), plan)
    return HeadAnswer.of(likely, present(merged, spec) if spec.multi_label else msgspec.UNSET)


def _likely(ranked: list[Prediction], plan: Plan) -> list[Prediction]:
    best, *others = ranked
    return [best, *(entry for entry in others if entry.confidence >= plan.inference.min_confidence)]
