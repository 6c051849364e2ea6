"""The way of one image: open, decode, views, prepare, predict, merge, calibrate, rank.

Pure steps but for the clock, in this order from top to bottom. The daemon's workers call exactly these,
and so does the command line; the threads and queues around them live in classify/worker.py and workers.py,
the record that is made of the answer in image_records.py.
"""

import time
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight import crashpoints
from dropsight.errors import ImageError
from dropsight.images.framing import Pixels
from dropsight.images.header import Header, check_bounds, read_header
from dropsight.images.jpeg import MOST_MISSING, Decoded
from dropsight.images.large import decode_where_it_fits
from dropsight.images.looks import Look, look_at
from dropsight.images.opening import ImageFile
from dropsight.images.thumbnail import shrink
from dropsight.inference.joining import joined
from dropsight.inference.judging import Found, judged
from dropsight.inference.planning import Plan
from dropsight.inference.preparing import ONE_SQUARE, PartsBatch
from dropsight.inference.ranking import merge, probabilities
from dropsight.models.features import Features
from dropsight.models.spec import Batch, Model, ModelSpec, Scores

THUMBNAIL_PIXELS = 320
AT_ONCE = 32
"""Of an image's parts, squares and views, of which there may be hundreds: so many have tensors at once."""


class Prepared(msgspec.Struct):
    """An image as the model wants it: a batch of its views, in the input tensor's dtype; see `PartsBatch`."""

    batch: Batch
    preprocess_ms: float
    squares: tuple[int, ...] = ONE_SQUARE
    decode_ms: float = 0.0
    look: Look | None = None
    thumbnail: Pixels | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_shown(self) -> bool:
        """Whether there is something of it for who watches the cameras."""
        return self.look is not None or self.thumbnail is not None

    def release(self) -> None:
        """Give back the pixels: the model has seen them. What was measured stays."""
        self.batch, self.look, self.thumbnail = self.batch[:0].copy(), None, None


class Invoked(msgspec.Struct, frozen=True):
    """What the model made of an image's views; `at` is when, in seconds since the epoch."""

    scores: Scores
    inference_ms: float
    at: float
    squares: tuple[int, ...] = ONE_SQUARE


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


def prepare(data: bytes, header: Header, plan: Plan, *, look: bool = False) -> Prepared:
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
        look=look_at(pixels) if look else None,
        thumbnail=shrink(pixels, longest=THUMBNAIL_PIXELS) if plan.thumbnails else None,
        warnings=(*header.warnings, damage.text) if damage else header.warnings,
    )


def pixels_of(data: bytes, header: Header, plan: Plan) -> Decoded:
    """Decode, upright and as small as the model allows."""
    return decode_where_it_fits(data, header, plan.wanted, depth=plan.bounds.depth)


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
    batch = prepared.batch
    if len(batch) <= AT_ONCE:
        scores = _invoke(model, batch)
    else:
        starts = range(0, len(batch), AT_ONCE)
        scores = np.concatenate([_invoke(model, batch[start : start + AT_ONCE]) for start in starts])
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


def probabilities_of(invoked: Invoked, plan: Plan) -> NDArray[np.float32]:
    """Return those of the main answer's classes by which the picture is answered; raises ImageError."""
    rows = merged(invoked, plan)
    surest: NDArray[np.float32] = rows[_surest(rows, plan), : len(plan.spec.labels)]
    return surest


def scores_of(invoked: Invoked, plan: Plan) -> NDArray[np.float32]:
    """Return the scores of the same classes and region, before any temperature; raises ImageError."""
    place = _surest(merged(invoked, plan), plan)
    ends = np.cumsum(invoked.squares) * views_of(invoked)
    region = np.split(invoked.scores, ends[:-1])[place]
    mean: NDArray[np.float32] = joined(region, plan.spec, invoked.squares[place]).mean(axis=0)
    return mean


def _surest(rows: NDArray[np.float32], plan: Plan) -> int:
    return plan.place_of(judged(rows, plan).region)


def _merged(scores: Scores, squares: int, plan: Plan) -> NDArray[np.float32]:
    temperature = plan.inference.temperature
    with np.errstate(all="ignore"):
        parts: list[NDArray[np.float32]] = []
        for _, columns, spec in plan.parts:
            own = scores[:, columns]
            of_all = own if squares == 1 else joined(own, spec, squares)
            parts.append(merge(probabilities(of_all, spec, temperature)))
    found = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if not np.logical_and.reduce(np.isfinite(found)):
        raise ImageError("model_error", "the model's answer is not a number: NaN or infinite")
    return found
