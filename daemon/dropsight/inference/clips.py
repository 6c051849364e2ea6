"""The way of one clip: frames as they are decoded, each as an image, then one answer of all."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.config import Video
from dropsight.errors import ImageError
from dropsight.images.framing import Pixels
from dropsight.images.opening import ImageFile
from dropsight.inference import pipeline
from dropsight.inference.aggregating import aggregate, segments
from dropsight.inference.judging import Found, judged
from dropsight.inference.planning import Plan
from dropsight.models.spec import Model
from dropsight.records import Aggregate, ClipFacts, Latency, Peak, Prediction, SampleBy
from dropsight.video.decoder import ClipDecoder
from dropsight.video.sampling import Sampling
from dropsight.video.wire import ClipEnd, ClipFrame, ClipHeader, ClipOrder, Frames

_WHOLE = Frames(None, "crop", 1.0)
Lend: TypeAlias = Callable[[], AbstractContextManager[Model]]


class ClipSettings(msgspec.Struct, frozen=True):
    """See `Sampling` and `aggregate` for what each does."""

    sample: SampleBy = "auto"
    every_seconds: float = 0.5
    max_frames: int = 64
    aggregate: Aggregate = "top_k_mean"
    top_k_frames: int = 3
    skip_still: bool = True
    max_seconds: float = 14400.0

    @classmethod
    def of(cls, video: Video) -> "ClipSettings":
        """Return those of the config."""
        said = {name: getattr(video, name) for name in cls.__struct_fields__}
        return cls(**said)

    def order(self, plan: Plan, decoder: ClipDecoder) -> ClipOrder:
        """Return what to ask the decoder for: frames as the plan's model wants them."""
        sampling = Sampling(
            self.sample, self.every_seconds, self.max_frames, self.skip_still, self.max_seconds
        )
        bounds = decoder.bounds
        return ClipOrder(
            sampling,
            _WHOLE if plan.preparation.whole else _as_seen(plan),
            min(bounds.max_pixels, plan.bounds.max_pixels),
            bounds.cpu_seconds,
            whole_only=not bounds.damaged_too,
        )


class FilmFrame(NamedTuple):
    """A frame that was looked at, in seconds from the first, as a small JPEG."""

    time: float
    jpeg: bytes


class ClipAnswer(Found, frozen=True, kw_only=True):
    """`latency` sums up the stages over all frames, waiting for the decoder not counted.

    Of the main answer, in the surest region, `rows` (n, classes) are what the frames at `times` show,
    `scores` (classes,) what all of them do.
    """

    clip: ClipFacts
    views: int
    warnings: tuple[str, ...]
    latency: Latency
    film: Sequence[FilmFrame]
    times: Sequence[float]
    rows: NDArray[np.float32]
    scores: NDArray[np.float32]

    @property
    def surest(self) -> bytes:
        """Return the peak frame as a small JPEG."""
        return next(frame.jpeg for frame in self.film if frame.time == self.clip.peak.time)


class _Seen:
    """The frames of a clip so far."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.indices: list[int] = []
        self.rows: list[NDArray[np.float32]] = []
        self.film: list[FilmFrame] = []
        self.classified = self.views = 0
        self.decode_ms = self.preprocess_ms = self.inference_ms = 0.0

    def add(self, frame: ClipFrame, plan: Plan, lend: Lend) -> None:
        """Classify it, unless it is still: then it shows what the one before it did."""
        self.decode_ms += frame.decode_ms
        self.times.append(frame.time)
        self.indices.append(frame.index)
        self.film.append(FilmFrame(frame.time, frame.thumbnail))
        if frame.pixels is None:
            self.rows.append(self.rows[-1])
            return
        if plan.preparation.whole:
            prepared = pipeline.prepare_pixels(_pixels(frame), plan)
        else:
            prepared = pipeline.prepare_framed(_parts(frame), plan)
        with lend() as model:
            invoked = pipeline.invoke(model, prepared)
        self.rows.append(pipeline.merged(invoked, plan))
        self.preprocess_ms += prepared.preprocess_ms
        self.inference_ms += invoked.inference_ms
        self.classified += 1
        self.views = pipeline.views_of(invoked)


def classify_clip(
    file: ImageFile, decoder: ClipDecoder, plan: Plan, settings: ClipSettings, lend: Lend
) -> ClipAnswer:
    """Classify an open clip; `lend` hands out the model for a frame at a time. Raises as `decode` does."""
    started = time.perf_counter()
    seen, header, end = _Seen(), None, None
    for part in decoder.decode(file, settings.order(plan, decoder)):
        if isinstance(part, ClipHeader):
            header = part
        elif isinstance(part, ClipEnd):
            end = part
        else:
            seen.add(part, plan, lend)
    if header is None or end is None or not seen.rows:
        raise ImageError("truncated", "none of its frames can be decoded")
    began = time.perf_counter()
    of_regions = np.stack(seen.rows, axis=1)
    merged = np.stack([_aggregated(seen.times, rows, plan, settings) for rows in of_regions])
    sums = [_group_sums(np.array(seen.times), rows, plan, settings) for rows in of_regions]
    found = judged(merged, plan, sums)
    surest = plan.place_of(found.region)
    main = of_regions[surest, :, : len(plan.spec.labels)]
    facts = _facts(header, end, seen, main, found.predictions[0], plan.spec.labels, settings)
    now = time.perf_counter()
    latency = Latency(
        decode=round(seen.decode_ms, 3),
        preprocess=round(seen.preprocess_ms, 3),
        inference=round(seen.inference_ms, 3),
        postprocess=round((now - began) * 1e3, 3),
        total=round((now - started) * 1e3, 3),
    )
    return ClipAnswer(
        found.best,
        found.region,
        found.regions,
        clip=facts,
        views=seen.views,
        warnings=end.warnings,
        latency=latency,
        film=seen.film,
        times=seen.times,
        rows=main,
        scores=merged[surest, : main.shape[1]],
    )


def _aggregated(
    times: Sequence[float], rows: NDArray[np.float32], plan: Plan, settings: ClipSettings
) -> NDArray[np.float32]:
    """Return what all frames of one region show, of shape (classes,), of several heads each by itself."""
    widths = [len(spec.labels) for _, _, spec in plan.parts]
    return np.concatenate(
        [
            aggregate(np.array(times), of_head, settings.aggregate, top_k_frames=settings.top_k_frames)
            for of_head in np.split(rows, np.cumsum(widths)[:-1], axis=1)
        ]
    )


def _group_sums(
    times: NDArray[np.float64], rows: NDArray[np.float32], plan: Plan, settings: ClipSettings
) -> NDArray[np.float32] | None:
    """Add up frame by frame: a cat that is first a tabby, then a tiger cat, is no surer a cat for that."""
    if plan.namer.sums is None:
        return None
    sums = plan.namer.sums.of(rows)
    return aggregate(times, sums, settings.aggregate, top_k_frames=settings.top_k_frames)


def frame_at(file: ImageFile, decoder: ClipDecoder, seconds: float) -> Pixels:
    """Return all of the frame that shows so many seconds after the first, RGB, upright.

    Only what leads from the keyframe before to it is decoded. Raises as `decode` does.
    """
    return _pixels(_frame_at(file, decoder, seconds, _WHOLE))


def seen_at(
    file: ImageFile, decoder: ClipDecoder, seconds: float, *, by: Plan, region: str | msgspec.UnsetType
) -> Sequence[Pixels]:
    """As `frame_at`, what the model sees of it, or of a region: one picture, or several squares."""
    return _parts(_frame_at(file, decoder, seconds, _as_seen(by)))[by.place_of(region)]


def _frame_at(file: ImageFile, decoder: ClipDecoder, seconds: float, wanted: Frames) -> ClipFrame:
    bounds = decoder.bounds
    order = ClipOrder(
        Sampling(),
        wanted,
        bounds.max_pixels,
        bounds.cpu_seconds,
        whole_only=False,
        at=(seconds,),
    )
    return next(part for part in list(decoder.decode(file, order)) if isinstance(part, ClipFrame))


def _as_seen(plan: Plan) -> Frames:
    spec, mask = plan.spec, plan.sight.mask if plan.sight else None
    return Frames(
        (spec.height, spec.width),
        spec.framing.resize,
        spec.framing.central,
        plan.boxes,
        mask.packed() if mask else None,
    )


def _pixels(frame: ClipFrame) -> Pixels:
    return np.frombuffer(frame.pixels or b"", np.uint8).reshape(frame.height, frame.width, 3)


def _parts(frame: ClipFrame) -> list[list[Pixels]]:
    """Take apart what the model sees of each part."""
    pictures = iter(np.split(_pixels(frame), sum(frame.squares)))
    return [list(islice(pictures, count)) for count in frame.squares]


def _facts(
    header: ClipHeader,
    end: ClipEnd,
    seen: _Seen,
    rows: NDArray[np.float32],
    best: Prediction,
    labels: Sequence[str],
    settings: ClipSettings,
) -> ClipFacts:
    peak = int(rows[:, best.class_index].argmax())
    timeline = [
        (at, int(row.argmax()), round(float(row.max()), 4)) for at, row in zip(seen.times, rows, strict=True)
    ]
    return ClipFacts(
        duration=header.duration,
        fps=header.fps,
        codec=header.codec,
        width=header.width,
        height=header.height,
        frames_read=end.frames_read,
        frames_classified=seen.classified,
        sampling=header.sampling,
        aggregate=settings.aggregate,
        timed=header.timed,
        peak=Peak(
            seen.times[peak],
            seen.indices[peak],
            best.label,
            round(float(rows[peak, best.class_index]), 6),
        ),
        segments=segments(timeline, header.duration, labels),
        timeline=timeline,
    )
