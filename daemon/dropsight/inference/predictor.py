"""Answers to images, one or many, by a model that is open: the same steps as the daemon takes."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from threading import Event
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dropsight.errors import ImageError
from dropsight.inference import pipeline
from dropsight.inference.accepted_images import Image, Images, contents, path_of, several
from dropsight.inference.interpreters import Interpreters
from dropsight.inference.lookahead import look_ahead
from dropsight.inference.option_checks import check_whole
from dropsight.inference.pipeline import Prepared
from dropsight.inference.planning import Plan
from dropsight.inference.results import (
    BatchResults,
    ClipResult,
    ImageResult,
    Outcome,
    failure_of,
    outcome_of,
    result_of,
)
from dropsight.models.features import Features
from dropsight.models.spec import Model

T = TypeVar("T")


class Predictor:
    """An open model with the plan for its images, for any number of threads at once; `with` closes it."""

    def __init__(self, plan: Plan, interpreters: Interpreters, threads: int) -> None:
        self.spec = plan.spec
        self._plan, self._threads = plan, threads
        self._interpreters: Interpreters | None = interpreters

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
        """Yield each image with the model's own scores of shape (classes,), before any temperature.

        Of several regions they are those of the surest, which is the picture's answer.
        """
        return self._of_each(images, pipeline.scores_of, show_progress=show_progress)

    def probabilities(
        self, images: Sequence[Image], *, show_progress: bool = False
    ) -> Generator[tuple[Image, NDArray[np.float32] | ImageError], None, None]:
        """Yield each image with the probabilities (classes,) by which `predict` answers it."""
        return self._of_each(images, pipeline.probabilities_of, show_progress=show_progress)

    def _of_each(
        self,
        images: Sequence[Image],
        what: Callable[[pipeline.Invoked, Plan], NDArray[np.float32]],
        *,
        show_progress: bool,
    ) -> Generator[tuple[Image, NDArray[np.float32] | ImageError], None, None]:
        self._opened()
        work = partial(self._found, what=what)
        made = look_ahead(work, images, threads=self._threads, most=2 * self._threads)
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

    def _found(
        self, image: Image, *, what: Callable[[pipeline.Invoked, Plan], NDArray[np.float32]]
    ) -> tuple[Image, NDArray[np.float32] | ImageError]:
        prepared = self._try_to_prepare(image)
        if isinstance(prepared, ImageError):
            return image, prepared
        with self._opened().one() as model:
            invoked = pipeline.invoke(model, prepared)
        try:
            return image, what(invoked, self._plan)
        except ImageError as error:
            return image, error

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
