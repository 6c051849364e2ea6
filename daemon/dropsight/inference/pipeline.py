"""The way of one image: open, decode, views, prepare, predict, merge, calibrate, rank.

Pure steps but for the clock, in this order from top to bottom. The daemon's workers call exactly these,
and so does the command line; the threads and queues around them live in classify/worker.py and workers.py,
the record that is made of the answer in image_records.py.
"""

import time
from collections.abc import Sequence
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
from dropsight.images.thumbnail import shrink
from dropsight.images.views import views
from dropsight.inference.preparing import Preparation
from dropsight.inference.ranking import merge, predictions, present, probabilities
from dropsight.models.spec import Batch, Model, ModelSpec, Scores
from dropsight.records import HeadAnswer, Heads, Prediction, Present

THUMBNAIL_PIXELS = 320
Parts: TypeAlias = tuple[tuple[str, slice, ModelSpec], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the steps need to know besides the image, fixed while one model is in force.

    `parts` are the model's heads, of which one that has but one answer is the only one.
    """

    device: str
    spec: ModelSpec
    preparation: Preparation
    bounds: Bounds
    inference: Inference
    hurried: bool = False
    looks: bool = False
    thumbnails: bool = False
    parts: Parts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.spec.parts) or (("", slice(None), self.spec),))

    def in_a_hurry(self) -> "Plan":
        """The same without test-time augmentation."""
        return replace(self, inference=msgspec.structs.replace(self.inference, tta=()), hurried=True)

    @property
    def temperature(self) -> float:
        """The config's times the one that the model was calibrated to."""
        return self.inference.temperature * self.spec.temperature


class Prepared(msgspec.Struct):
    """An image as the model wants it: a batch of its views, in the input tensor's dtype."""

    batch: Batch
    preprocess_ms: float
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


class Ranking(msgspec.Struct, frozen=True):
    """The best of the main answer, which of its classes are there, and the same of each head."""

    predictions: Sequence[Prediction]
    present: Present
    heads: Heads


class Answer(Ranking, frozen=True):
    """`views` are how many the predictions are merged from."""

    inference_ms: float
    postprocess_ms: float
    views: int


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
    batch = _batch_of(pixels, plan)
    return Prepared(
        batch,
        preprocess_ms=(time.perf_counter() - decoded) * 1e3,
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
    )


def prepare_pixels(pixels: Pixels, plan: Plan) -> Prepared:
    """Frame; take the views; normalise and quantize."""
    started = time.perf_counter()
    batch = _batch_of(pixels, plan)
    return Prepared(batch, preprocess_ms=(time.perf_counter() - started) * 1e3)


def prepare_framed(framed: Pixels, plan: Plan) -> Prepared:
    """As `prepare_pixels`, of pixels of the model's size, as framing leaves them."""
    started = time.perf_counter()
    preparation = plan.preparation
    batch = preparation.batch(views(preparation.channels(framed), plan.inference.tta or ("original",)))
    return Prepared(batch, preprocess_ms=(time.perf_counter() - started) * 1e3)


def _batch_of(pixels: Pixels, plan: Plan) -> Batch:
    return plan.preparation.batch_of(pixels, plan.inference.tta or ("original",))


def predict(model: Model, prepared: Prepared, plan: Plan) -> Answer:
    """Invoke; merge the views' probabilities, calibrate by temperature, rank."""
    return answer(invoke(model, prepared), plan)


def invoke(model: Model, prepared: Prepared) -> Invoked:
    """The model's part of `predict`, which `answer` completes."""
    started = time.perf_counter()
    scores = _invoke(model, prepared.batch)
    return Invoked(scores, (time.perf_counter() - started) * 1e3, time.time())


def predict_many(model: Model, prepared: Sequence[Prepared], plan: Plan) -> list[Answer | ImageError]:
    """Invoke on the views of many images at once; as `predict` for each."""
    started = time.perf_counter()
    scores = _invoke(model, np.concatenate([each.batch for each in prepared]))
    share_ms = (time.perf_counter() - started) * 1e3 / len(prepared)
    now = time.time()
    return [_answer_or_error(Invoked(part, share_ms, now), plan) for part in np.split(scores, len(prepared))]


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
    rows = merged(invoked.scores, plan)
    found = ranked(rows, plan)
    postprocess_ms = (time.perf_counter() - started) * 1e3
    return Answer(
        found.predictions,
        found.present,
        found.heads,
        invoked.inference_ms,
        postprocess_ms,
        views=len(invoked.scores),
    )


def merged(scores: Scores, plan: Plan) -> NDArray[np.float32]:
    """Return the views' probabilities, merged, of shape (classes,), of several heads one behind the other.

    Raises ImageError where they are no numbers.
    """
    temperature = plan.inference.temperature
    with np.errstate(all="ignore"):
        parts = [
            merge(probabilities(scores[:, columns], spec, temperature)) for _, columns, spec in plan.parts
        ]
    found = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if not np.isfinite(found).all():
        raise ImageError("model_error", "the model's answer is not a number: NaN or infinite")
    return found


def ranked(merged: NDArray[np.float32], plan: Plan) -> Ranking:
    """Return the best of the main answer, and what else is likely enough; the same of each head."""
    start, found = 0, {}
    for name, _, spec in plan.parts:
        end = start + len(spec.labels)
        found[name] = _answer_of(merged[start:end], spec, plan)
        start = end
    main = next(iter(found.values()))
    return Ranking(main.predictions, main.present, found if plan.spec.heads else msgspec.UNSET)


def _answer_of(merged: NDArray[np.float32], spec: ModelSpec, plan: Plan) -> HeadAnswer:
    likely = _likely(predictions(merged, spec.labels, plan.inference.top_k), plan)
    return HeadAnswer.of(likely, present(merged, spec) if spec.multi_label else msgspec.UNSET)


def _likely(ranked: list[Prediction], plan: Plan) -> list[Prediction]:
    best, *others = ranked
    return [best, *(entry for entry in others if entry.confidence >= plan.inference.min_confidence)]
