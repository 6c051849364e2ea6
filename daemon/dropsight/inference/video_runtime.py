"""Clips, for notebooks and the command line, with the same steps as images."""

import os
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event, Lock
from typing import Self, TypeAlias, Unpack

import msgspec
from tqdm import tqdm

from dropsight.errors import ImageError
from dropsight.images.framing import Pixels
from dropsight.images.opening import ImageFile, open_named
from dropsight.inference.clips import ClipAnswer, ClipSettings, FilmFrame, classify_clip, frame_at
from dropsight.inference.option_checks import OF_CLIPS, check_options
from dropsight.inference.predictor import Predictor, in_thread
from dropsight.inference.results import BatchResults, ClipResult, ImageFailure, clip_result_of, failure_of
from dropsight.inference.runtime import DEFAULT_MODEL, ImageInferenceRuntime
from dropsight.inference.runtime_options import ClipOptions, RuntimeOptions
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
        images: Predictor | None = None,
        **of_images: Unpack[RuntimeOptions],
    ) -> None:
        """Open the model, unless `images` brings one; raises as `ImageInferenceRuntime` does.

        `sample`: keyframes, or every `every_seconds`; auto takes keyframes where they are close enough.
        A clip of more than `max_frames` has them spread evenly. `aggregate`: see
        `dropsight.inference.aggregating.aggregate`. `of_images` are those of `ImageInferenceRuntime`
        (`use_tta`, `temperature`, `labels`, `heads`...) and hold for each frame.
        """
        self._settings = checked(
            ClipSettings(sample, every_seconds, max_frames, aggregate, top_k_frames, skip_still, max_seconds)
        )
        if images is not None and not isinstance(images, Predictor):
            raise TypeError(f"images must be an ImageInferenceRuntime, not {images!r}")
        if images and of_images:
            raise TypeError(f"{', '.join(of_images)}: of the model, which `images` brings; give them to that")
        self._images: Predictor = images or ImageInferenceRuntime(model_path, model_format, **of_images)
        self._own_images = images is None
        self.spec = self._images.spec
        self._decoder, self._closed = ClipDecoder(ClipBounds()), False
        self._turn = Lock()

    def predict(self, clip: Clip) -> ClipResult:
        """Classify one clip; raises FileNotFoundError, and as `ImageInferenceRuntime.predict`."""
        return self.predict_with_film(clip)[0]

    def predict_with_film(self, clip: Clip) -> tuple[ClipResult, Sequence[FilmFrame]]:
        """As `predict`, with the frames that were looked at, as small JPEGs."""
        answer = self.answer(clip)
        return clip_result_of(os.fsdecode(clip), answer, self._images.plan), answer.film

    def answer(self, clip: Clip) -> ClipAnswer:
        """As `predict`, with all that was seen in each frame."""
        with self._turn, _open(clip) as file:
            return classify_clip(
                file, self._opened(), self._images.plan, self._settings, self._images.interpreter
            )

    def frame(self, clip: Clip, seconds: float) -> Pixels:
        """Return the frame that shows so many seconds after the first: all of it, RGB, upright.

        That of `result.clip.peak.time` is the one to explain.
        """
        with self._turn, _open(clip) as file:
            return frame_at(file, self._opened(), seconds)

    def results(
        self, clips: Iterable[Clip] | Clip, *, show_progress: bool = False
    ) -> Generator[ClipResult | ImageFailure, None, None]:
        """Yield one result per clip, in order, as it is done; a clip that fails becomes an ImageFailure.

        Any iterable is accepted, also a generator, which is asked for the next clip when its turn has come.
        """
        given = _several(clips)
        count = len(given) if isinstance(given, Sequence) else None
        with tqdm(total=count, unit="clip", disable=not show_progress) as progress:
            for clip in given:
                yield self._outcome(clip)
                progress.update()

    def predict_batch(
        self, video_paths: Iterable[Clip] | Clip, *, show_progress: bool = False
    ) -> BatchResults:
        """Classify one or many clips: what `results` yields, and the time it took."""
        return self._gather(video_paths, show_progress=show_progress, stop=Event())

    async def apredict(self, clip: Clip) -> ClipResult:
        """As `predict`, in a thread, without blocking the event loop; if cancelled, its result is dropped."""
        return await in_thread(lambda: self.predict(clip))

    async def apredict_batch(
        self, video_paths: Iterable[Clip] | Clip, *, show_progress: bool = False
    ) -> BatchResults:
        """As `predict_batch`, in a thread; if cancelled, that ends when the clip in progress is done."""
        stop = Event()
        try:
            return await in_thread(lambda: self._gather(video_paths, show_progress=show_progress, stop=stop))
        finally:
            stop.set()

    def close(self) -> None:
        """End the decoder's process and release the model, unless it came from `images`.

        A call in progress in another thread finishes; later ones raise RuntimeError.
        """
        with self._turn:
            self._closed = True
            self._decoder.close()
        if self._own_images:
            self._images.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> ClipDecoder:
        if self._closed:
            raise RuntimeError("the runtime is closed: predict inside its with block, or open another")
        return self._decoder

    def _gather(
        self, video_paths: Iterable[Clip] | Clip, *, show_progress: bool, stop: Event
    ) -> BatchResults:
        started = time.perf_counter()
        gathered: list[ClipResult | ImageFailure] = []
        with closing(self.results(video_paths, show_progress=show_progress)) as made:
            for outcome in made:
                gathered.append(outcome)
                if stop.is_set():
                    break
        return self._images.summarize(gathered, total_ms=(time.perf_counter() - started) * 1e3)

    def _outcome(self, clip: Clip) -> ClipResult | ImageFailure:
        path = os.fsdecode(clip) if isinstance(clip, str | os.PathLike) else None
        try:
            return self.predict(clip)
        except FileNotFoundError:
            return failure_of(path, ImageError("unreadable", "there is no such file"))
        except ImageError as error:
            return failure_of(path, error)


def _open(clip: Clip) -> ImageFile:
    if not isinstance(clip, str | os.PathLike):
        raise ImageError("not_an_image", f"an object of type {type(clip).__name__}: give a clip by its path")
    try:
        return open_named(clip)
    except ValueError as error:  # a null byte, or what the file system cannot spell
        raise ImageError("unreadable", f"not a file name: {error}") from error


def _several(clips: Iterable[Clip] | Clip) -> Iterable[Clip]:
    if isinstance(clips, str | os.PathLike):
        return [clips]
    if isinstance(clips, Iterable) and not isinstance(clips, bytes | bytearray | memoryview):
        return clips
    raise TypeError(f"video_paths: an object of type {type(clips).__name__}: give clips by their paths")


def checked(settings: ClipSettings) -> ClipSettings:
    """Raise TypeError or ValueError for a setting that makes no sense, else return them."""
    check_options(OF_CLIPS, msgspec.structs.asdict(settings))
    return settings


def predict_video(
    path: Clip, model_path: str | os.PathLike[str] = DEFAULT_MODEL, **sampling: Unpack[ClipOptions]
) -> ClipResult:
    """Classify one clip; raises as `VideoInferenceRuntime` and its `predict`, of which `sampling` are."""
    with VideoInferenceRuntime(model_path, **sampling) as runtime:
        return runtime.predict(path)


def run_video_inference(
    model_path: str | os.PathLike[str],
    video_paths: Iterable[Clip] | Clip,
    output_path: str | os.PathLike[str] | None = None,
    model_format: str = "auto",
    *,
    use_tta: bool = False,
    show_progress: bool = False,
    **sampling: Unpack[ClipOptions],
) -> BatchResults:
    """Classify one or many clips with one model; write the results as JSON to `output_path`."""
    with VideoInferenceRuntime(model_path, model_format, use_tta=use_tta, **sampling) as runtime:
        batch = runtime.predict_batch(video_paths, show_progress=show_progress)
    if output_path is not None:
        batch.write(Path(output_path))
    return batch
