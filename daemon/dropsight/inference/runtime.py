"""Single images and batches, for notebooks and the command line, with the same steps as the daemon."""

import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dropsight.config import Head, Inference, Members
from dropsight.errors import ImageError, ModelError
from dropsight.images.opening import Bounds
from dropsight.inference import pipeline
from dropsight.inference.demands import check_settings, check_whole, views_of
from dropsight.inference.given import Image, Images, contents, path_of, several
from dropsight.inference.interpreters import Interpreters
from dropsight.inference.joining import joined
from dropsight.inference.lookahead import look_ahead
from dropsight.inference.pipeline import Prepared
from dropsight.inference.planning import Plan
from dropsight.inference.preparing import Preparation, PreprocessFn
from dropsight.inference.results import (
    BatchResults,
    ClipResult,
    ImageResult,
    Outcome,
    failure_of,
    outcome_of,
    result_of,
)
from dropsight.inference.wording import without_effect
from dropsight.models.backends import open_model
from dropsight.models.features import Features, no_features
from dropsight.models.guesses import guess_of
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import Model, ModelOptions
from dropsight.records import Normalization, Resize

log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_MODEL = "builtin:efficientnet_lite0"


class ImageInferenceRuntime:
    """A loaded model, ready to predict, for any number of threads at once; `with` closes it.

    An image is a path (links are followed); the bytes of an encoded one, as of a file; one of
    Pillow's, of any mode; or an array: (height, width) or (height, width, 1), gray; (height, width, 3), RGB;
    (height, width, 4), RGBA; a batch dimension of 1 may stand first. Alpha is dropped. Arrays are of

    - uint8;
    - uint16, of which the upper 8 bits count, as of a 16-bit PNG;
    - float16, float32, float64: within 0..1, else an error that states their actual range;
    - bool: black and white; other integers: within 0..255.

    Arrays are taken to be upright. Files, bytes and Pillow's images are turned upright by their EXIF
    orientation; `PIL.ImageOps.exif_transpose` takes it out of an image, which is not turned again then.

    A lone TFLite image is worked on by `threads` cores. Several, in a batch or from several threads, have an
    interpreter of one thread each, up to `threads` of them, or as many as fit into a quarter of the memory;
    further callers wait. Keras models and SavedModels bring their own threads.
    """

    def __init__(  # noqa: PLR0913 - each has its own default
        self,
        model_path: str | os.PathLike[str] = DEFAULT_MODEL,
        model_format: str = "auto",
        *,
        use_tta: bool = False,
        tta_transforms: int | Sequence[str] = 5,
        temperature: float = 1.0,
        preprocess_fn: PreprocessFn | None = None,
        labels: str | os.PathLike[str] | None = None,
        normalization: Normalization | None = None,
        resize: Resize | None = None,
        input_size: tuple[int, int] | None = None,
        output: str | int | None = None,
        heads: Mapping[str, str | int] | None = None,
        thresholds: Mapping[str, float] | None = None,
        groups: Mapping[str, Members] | Literal["auto", "off"] = "auto",
        unknown: float | Literal["auto", "off"] = "off",
        top_k: int = 5,
        threads: int | None = None,
        embeddings: bool = False,
    ) -> None:
        """Open the model; raises ModelError, TypeError or ValueError for an invalid setting.

        `preprocess_fn` takes upright RGB pixels (height, width, 3) uint8 and returns float
        (height, width, channels) of the model's size, normalised; quantization follows. A batch calls it
        from several threads. `temperature` is the T of softmax(logits / T) (Guo et al. 2017). The answer
        with `use_tta` is the mean of the views' probabilities. `input_size`: height and width, where the
        model leaves them open. `output`, by name or number, is which of several to use; `heads`, by names of
        your own, which several, the main answer first. `thresholds`, by label, number or "*" for all others:
        from which probability on each class is `present`, where several may be at once. `groups`, by names of
        your own, are labels (wildcards allowed), numbers or ranges ("151-268") whose confidences add up; auto
        takes the model's own. `unknown` is the flatness above which an answer is none, auto the model's own.
        `threads`: cores to use, all by default. `embeddings`: `embed` is wanted, too; ConfigError for a model
        that has none.
        """
        check_settings(
            model_format=model_format,
            temperature=temperature,
            preprocess_fn=preprocess_fn,
            resize=resize,
            groups=groups,
            unknown=unknown,
            top_k=top_k,
            threads=threads,
        )
        views = views_of(tta_transforms)
        said = ModelOverrides(
            None if labels is None else Path(labels),
            normalization,
            resize=resize,
            input_size=input_size,
            output=output,
            heads={name: Head(number) for name, number in (heads or {}).items()},
            thresholds=dict(thresholds or {}),
            groups=dict(groups) if isinstance(groups, Mapping) else groups,
        )
        self._threads = threads or len(os.sched_getaffinity(0))
        options = ModelOptions(self._threads, embeddings=embeddings)
        model = open_model(os.fspath(model_path), said=said, options=options)
        self.spec = model.spec
        if embeddings and not self.spec.features:
            raise no_features(self.spec.path, f"the backend of {self.spec.format} has no way to them")
        if self.spec.kernels and self.spec.kernels.fault:
            log.warning("%s: %s", self.spec.name, self.spec.kernels.fault)
        if guess := guess_of(self.spec):
            log.warning("%s: %s", self.spec.name, guess)
        if model_format not in {"auto", self.spec.format}:
            raise ModelError(f"{self.spec.path}: the model is {self.spec.format}, not {model_format}")
        self._plan = Plan(
            device="",
            spec=self.spec,
            preparation=Preparation(self.spec, preprocess_fn=preprocess_fn),
            bounds=Bounds(),
            inference=Inference(
                top_k=top_k, temperature=temperature, tta=views if use_tta else (), unknown=unknown
            ),
        )
        if idle := without_effect(self.spec, self._plan.inference):
            log.warning("%s: %s", self.spec.name, idle)
        self._interpreters: Interpreters | None = Interpreters(model, self._threads)

    def predict(self, image: Image) -> ImageResult:
        """Classify one image; latencies in milliseconds, confidences within 0..1, the best first.

        Raises FileNotFoundError, ImageError (its `code` says what is wrong, as in records), MachineError
        where memory or the disk fails, ModelError where the interpreter does, RuntimeError once closed.
        """
        started = time.perf_counter()
        self._opened()
        prepared = self._prepare(image)
        with self.interpreter() as model:
            answer = pipeline.predict(model, prepared, self._plan)
        total_ms = (time.perf_counter() - started) * 1e3
        return result_of(path_of(image), prepared, answer, self._plan, total_ms=total_ms)

    def embed(self, image: Image) -> Features:
        """Return its embedding, float32 of shape (spec.features,): what the last layer with weights is given.

        Maps are pooled to a mean a channel, views to their mean; it is of any length, not normalised. For
        runtimes with `embeddings`; raises as `predict` does.
        """
        self._opened()
        prepared = self._prepare(image)
        with self.interpreter() as model:
            found = pipeline.features_of(pipeline.invoke(model, prepared), self.spec)
        if found is None:
            raise ValueError("for embeddings open the model with ImageInferenceRuntime(..., embeddings=True)")
        return found

    def predict_batch(
        self, image_paths: Images, batch_size: int = 32, *, show_progress: bool = False
    ) -> BatchResults:
        """Classify one or many images: what `results` yields, and the time it took."""
        return self._gather(image_paths, batch_size, show_progress=show_progress, stop=Event())

    def results(
        self, image_paths: Images, batch_size: int = 32, *, show_progress: bool = False
    ) -> Generator[Outcome, None, None]:
        """Yield one result per image, in order, as it is done; an image that fails becomes an ImageFailure.

        Any iterable is accepted, also a generator: it is asked for images as they are needed, in the caller's
        thread. Keras models and SavedModels get `batch_size` images in one call, while as many are prepared.
        TFLite models get one at a time whatever it is, since more at once are no faster, and two images a
        thread are in hand. So memory stays flat; what was given must not change until its result is there.
        `show_progress` draws a bar on stderr. Raises TypeError or ValueError at once; while it yields, what
        the iterable raises, MachineError, ModelError, and RuntimeError once closed.
        """
        check_whole("batch_size", batch_size)
        images, interpreters = several(image_paths), self._opened()
        count = len(images) if isinstance(images, Sized) else None
        if interpreters.takes_batches:
            made = self._by_batches(images, batch_size)
        else:
            work = partial(self._outcome, alone=count == 1)
            made = look_ahead(work, images, threads=self._threads, most=2 * self._threads)
        return _shown(made, count, show_progress=show_progress)

    async def apredict(self, image: Image) -> ImageResult:
        """As `predict`, in a thread, without blocking the event loop; if cancelled, its result is dropped."""
        return await in_thread(lambda: self.predict(image))

    async def apredict_batch(
        self, image_paths: Images, batch_size: int = 32, *, show_progress: bool = False
    ) -> BatchResults:
        """As `predict_batch`, in a thread, without blocking the event loop.

        If cancelled, it returns at once, and its thread ends when the images in progress are done.
        """
        stop = Event()
        try:
            return await in_thread(
                lambda: self._gather(image_paths, batch_size, show_progress=show_progress, stop=stop)
            )
        finally:
            stop.set()

    @property
    def plan(self) -> Plan:
        """What is done to each image, and by which settings."""
        return self._plan

    @contextmanager
    def interpreter(self) -> Iterator[Model]:
        """Lend the model to this thread, as `predict` does; raises RuntimeError once closed."""
        with self._opened().soonest() as model:
            yield model

    def close(self) -> None:
        """Release the model. Calls in progress in other threads finish; later ones raise RuntimeError."""
        self._interpreters = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def summarize(
        self, results: Sequence[Outcome | ClipResult], *, total_ms: float, count: int | None = None
    ) -> BatchResults:
        """Combine results and the time that they took, in milliseconds, as `predict_batch` does.

        `count`: how many there were, where the results themselves lie elsewhere.
        """
        count = len(results) if count is None else count
        return BatchResults(
            total_images=count,
            total_time_ms=round(total_ms, 3),
            avg_time_per_image_ms=round(total_ms / max(count, 1), 3),
            model_path=str(self.spec.path),
            model_format=self.spec.format,
            tta_enabled=bool(self._plan.inference.tta),
            results=results,
        )

    def scores(
        self, images: Sequence[Image], *, show_progress: bool = False
    ) -> Generator[tuple[Image, NDArray[np.float32] | ImageError], None, None]:
        """Yield each image with the model's own scores of shape (classes,), before any temperature."""
        self._opened()
        made = look_ahead(self._scored, images, threads=self._threads, most=2 * self._threads)
        return _shown(made, len(images), show_progress=show_progress)

    def _opened(self) -> Interpreters:
        if self._interpreters is None:
            raise RuntimeError("the runtime is closed: predict inside its with block, or open another")
        return self._interpreters

    def _gather(
        self, image_paths: Images, batch_size: int, *, show_progress: bool, stop: Event
    ) -> BatchResults:
        started = time.perf_counter()
        gathered: list[Outcome] = []
        with closing(self.results(image_paths, batch_size, show_progress=show_progress)) as made:
            for outcome in made:
                gathered.append(outcome)
                if stop.is_set():
                    break
        return self.summarize(gathered, total_ms=(time.perf_counter() - started) * 1e3)

    def _outcome(self, image: Image, *, alone: bool) -> Outcome:
        """Carry an image the whole way."""
        prepared = self._try_to_prepare(image)
        if isinstance(prepared, ImageError):
            return failure_of(path_of(image), prepared)
        interpreters = self._opened()
        with interpreters.soonest() if alone else interpreters.one() as model:
            (answer,) = pipeline.predict_many(model, [prepared], self._plan)
        return outcome_of(path_of(image), prepared, answer, self._plan)

    def _by_batches(self, images: Iterable[Image], batch_size: int) -> Generator[Outcome, None, None]:
        """Prepare the next ones while the model works on these."""

        def prepared(image: Image) -> tuple[str | None, Prepared | ImageError]:
            return path_of(image), self._try_to_prepare(image)

        with closing(look_ahead(prepared, images, threads=self._threads, most=batch_size)) as ready:
            while group := list(islice(ready, batch_size)):
                whole = [each for _, each in group if isinstance(each, Prepared)]
                with self._opened().one() as model:
                    answers = iter(pipeline.predict_many(model, whole, self._plan) if whole else ())
                for path, each in group:
                    if isinstance(each, ImageError):
                        yield failure_of(path, each)
                    else:
                        yield outcome_of(path, each, next(answers), self._plan)

    def _scored(self, image: Image) -> tuple[Image, NDArray[np.float32] | ImageError]:
        prepared = self._try_to_prepare(image)
        if isinstance(prepared, ImageError):
            return image, prepared
        with self._opened().one() as model:
            scores = joined(model.scores(prepared.batch), self.spec, sum(prepared.squares))
        merged: NDArray[np.float32] = scores.mean(axis=0)
        return image, merged

    def _try_to_prepare(self, image: Image) -> Prepared | ImageError:
        try:
            return self._prepare(image)
        except FileNotFoundError:
            return ImageError("unreadable", "there is no such file")
        except ImageError as error:
            return error

    def _prepare(self, image: Image) -> Prepared:
        found = contents(image, self._plan.bounds)
        if isinstance(found, bytes):
            return pipeline.prepare(found, pipeline.examine(found, self._plan), self._plan)
        return pipeline.prepare_pixels(found, self._plan)


def run_image_inference(
    model_path: str | os.PathLike[str],
    image_paths: Images,
    output_path: str | os.PathLike[str] | None = None,
    model_format: str = "auto",
    *,
    use_tta: bool = False,
    batch_size: int = 32,
    show_progress: bool = False,
) -> BatchResults:
    """Classify one or many images with one model; write the results as JSON to `output_path`."""
    with ImageInferenceRuntime(model_path, model_format, use_tta=use_tta) as runtime:
        batch = runtime.predict_batch(image_paths, batch_size, show_progress=show_progress)
    if output_path is not None:
        batch.write(Path(output_path))
    return batch


def _shown(
    made: Generator[T, None, None], count: int | None, *, show_progress: bool
) -> Generator[T, None, None]:
    with closing(made), tqdm(total=count, unit="img", disable=not show_progress) as progress:
        for each in made:
            progress.update()
            yield each


async def in_thread(work: Callable[[], T]) -> T:
    """Wait for a thread of the event loop's; asyncio is loaded where there is one."""
    from asyncio import to_thread

    return await to_thread(work)
