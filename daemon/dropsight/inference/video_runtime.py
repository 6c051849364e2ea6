"""Clips, for notebooks and the command line, with the same steps as images."""

import os
import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Self, TypeAlias, cast

import msgspec
from tqdm import tqdm

from dropsight.errors import ImageError
from dropsight.images.opening import open_named
from dropsight.inference.clips import ClipSettings, FilmFrame, classify_clip
from dropsight.inference.results import BatchResults, ClipResult, ImageFailure, clip_result_of, failure_of
from dropsight.inference.runtime import DEFAULT_MODEL, ImageInferenceRuntime
from dropsight.records import Aggregate, SampleBy
from dropsight.video.decoder import ClipBounds, ClipDecoder

Clip: TypeAlias = str | os.PathLike[str]


class VideoInferenceRuntime:
    """A loaded model, ready to classify clips; `with` closes it.

    Frames are decoded in a process of its own, which a damaged or malicious clip cannot take the caller along
    with; by PyAV where it is installed, which reads keyframes alone at a fifth of the cost, else by OpenCV.
    Each frame is framed, normalised and classified as a photo is, then all of them are aggregated.
    Threads may share it: they take turns, a clip at a time.
    """

    def __init__(  # noqa: PLR0913 - each has its own default
        self,
        model_path: str | os.PathLike[str] = DEFAULT_MODEL,
        model_format: str = "auto",
        *,
        sample: SampleBy = "auto",
        every_seconds: float = 0.5,
        max_frames: int = 64,
        aggregate: Aggregate = "top_k_mean",
        top_k_frames: int = 3,
        skip_still: bool = True,
        max_seconds: float = 14400.0,
        use_tta: bool = False,
        images: ImageInferenceRuntime | None = None,
    ) -> None:
        """Open the model, unless `images` brings one; raises ModelError, ValueError for an invalid setting.

        `sample`: keyframes, or every `every_seconds`; auto takes keyframes where they are close enough.
        A clip of more than `max_frames` has them spread evenly. `aggregate`: see
        `dropsight.inference.aggregating.aggregate`.
        """
        settings = ClipSettings(
            sample, every_seconds, max_frames, aggregate, top_k_frames, skip_still, max_seconds
        )
        self._settings = checked(settings)
        self._images = images or ImageInferenceRuntime(model_path, model_format, use_tta=use_tta)
        self._own_images = images is None
        self.spec = self._images.spec
        self._decoder = ClipDecoder(ClipBounds())
        self._turn = Lock()

    def predict(self, clip: Clip) -> ClipResult:
        """Classify one clip; raises FileNotFoundError, and as `ImageInferenceRuntime.predict`."""
        return self.predict_with_film(clip)[0]

    def predict_with_film(self, clip: Clip) -> tuple[ClipResult, Sequence[FilmFrame]]:
        """As `predict`, with the frames that were looked at, as small JPEGs."""
        with self._turn, open_named(clip) as file:
            answer = classify_clip(
                file, self._decoder, self._images.plan, self._settings, self._images.interpreter
            )
        return clip_result_of(os.fsdecode(clip), answer, self._images.plan), answer.film

    def results(
        self, clips: Iterable[Clip], *, show_progress: bool = False
    ) -> Generator[ClipResult | ImageFailure, None, None]:
        """Yield one result per clip, in order, as it is done; a clip that fails becomes an ImageFailure."""
        count = len(clips) if isinstance(clips, Sequence) else None
        with tqdm(total=count, unit="clip", disable=not show_progress) as progress:
            for clip in clips:
                yield self._outcome(clip)
                progress.update()

    def predict_batch(
        self, video_paths: Iterable[Clip] | Clip, *, show_progress: bool = False
    ) -> BatchResults:
        """Classify one or many clips: what `results` yields, and the time it took."""
        one = isinstance(video_paths, str | os.PathLike)
        clips = [cast("Clip", video_paths)] if one else cast("Iterable[Clip]", video_paths)
        started = time.perf_counter()
        gathered = list(self.results(clips, show_progress=show_progress))
        return self._images.summarize(gathered, total_ms=(time.perf_counter() - started) * 1e3)

    def close(self) -> None:
        """End the decoder's process and release the model, unless it came from `images`."""
        with self._turn:
            self._decoder.close()
        if self._own_images:
            self._images.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _outcome(self, clip: Clip) -> ClipResult | ImageFailure:
        try:
            return self.predict(clip)
        except FileNotFoundError:
            return failure_of(os.fsdecode(clip), ImageError("unreadable", "there is no such file"))
        except ImageError as error:
            return failure_of(os.fsdecode(clip), error)


def checked(settings: ClipSettings) -> ClipSettings:
    """Raise ValueError for a setting that makes no sense, else return them."""
    kinds = {each.name: each for each in msgspec.structs.fields(ClipSettings)}
    for name in ("sample", "aggregate"):
        try:
            msgspec.convert(getattr(settings, name), kinds[name].type)
        except msgspec.ValidationError as error:
            raise ValueError(f"{name}: {error}") from error
    for name in ("every_seconds", "max_frames", "top_k_frames", "max_seconds"):
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name} must be above 0, not {getattr(settings, name)}")
    return settings


def predict_video(path: Clip, model_path: str | os.PathLike[str] = DEFAULT_MODEL) -> ClipResult:
    """Classify one clip with the default settings; raises as `VideoInferenceRuntime.predict`."""
    with VideoInferenceRuntime(model_path) as runtime:
        return runtime.predict(path)


def run_video_inference(
    model_path: str | os.PathLike[str],
    video_paths: Iterable[Clip] | Clip,
    output_path: str | os.PathLike[str] | None = None,
    model_format: str = "auto",
    *,
    use_tta: bool = False,
    show_progress: bool = False,
) -> BatchResults:
    """Classify one or many clips with one model; write the results as JSON to `output_path`."""
    with VideoInferenceRuntime(model_path, model_format, use_tta=use_tta) as runtime:
        batch = runtime.predict_batch(video_paths, show_progress=show_progress)
    if output_path is not None:
        batch.write(Path(output_path))
    return batch
