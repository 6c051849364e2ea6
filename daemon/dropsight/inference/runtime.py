"""Single images and batches, for notebooks and the command line, by the very steps of the daemon."""

import logging
import os
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dropsight.config import Inference
from dropsight.errors import ImageError, ModelError
from dropsight.images.framing import Pixels, Resize
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds, open_image
from dropsight.inference import pipeline
from dropsight.inference.demands import check_settings, check_whole, views_of
from dropsight.inference.pipeline import Answer, Plan, Prepared
from dropsight.inference.preparing import Preparation, PreprocessFn
from dropsight.inference.results import BatchResults, ImageFailure, ImageResult
from dropsight.models.describing import Said
from dropsight.models.registry import open_model
from dropsight.records import ErrorFacts, Normalization

log = logging.getLogger(__name__)

Image: TypeAlias = "str | os.PathLike[str] | bytes | Pixels"
"""A path, an encoded image, or (height, width, 3) RGB uint8."""
Images: TypeAlias = "Sequence[Image] | Image"

DEFAULT_MODEL = "builtin:efficientnet_lite0"


class ImageInferenceRuntime:
    """A loaded model, ready to predict; not for several threads at once."""

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
        resize: Resize = "crop",
        top_k: int = 5,
        threads: int | None = None,
    ) -> None:
        """Open the model; raises ModelError, TypeError or ValueError for a setting that cannot be.

        `preprocess_fn` takes upright RGB pixels (height, width, 3) uint8 and returns float
        (height, width, channels) of the model's size, normalised; quantization follows.
        """
        check_settings(
            model_format=model_format,
            temperature=temperature,
            preprocess_fn=preprocess_fn,
            resize=resize,
            top_k=top_k,
            threads=threads,
        )
        views = views_of(tta_transforms)
        said = Said(None if labels is None else Path(labels), normalization)
        self._model = open_model(os.fspath(model_path), said=said, threads=threads or _cores())
        self.spec = self._model.spec
        if self.spec.kernels and self.spec.kernels.fault:
            log.warning("%s: %s", self.spec.name, self.spec.kernels.fault)
        if model_format not in {"auto", self.spec.format}:
            raise ModelError(f"{self.spec.path}: the model is {self.spec.format}, not {model_format}")
        self._plan = Plan(
            device="",
            spec=self.spec,
            preparation=Preparation(self.spec, resize=resize, preprocess_fn=preprocess_fn),
            resize=resize,
            bounds=Bounds(),
            inference=Inference(top_k=top_k, temperature=temperature, tta=views if use_tta else ()),
        )

    def predict(self, image: Image) -> ImageResult:
        """Classify one image; raises ImageError, FileNotFoundError."""
        started = time.perf_counter()
        prepared = self._prepare(image)
        answer = pipeline.predict(self._model, prepared, self._plan)
        return self._result(image, prepared, answer, (time.perf_counter() - started) * 1e3)

    def predict_batch(
        self, images: Images, batch_size: int = 32, *, show_progress: bool = False
    ) -> BatchResults:
        """Classify many, or one; what cannot be read becomes an entry with an error.

        The next batch is decoded while the model works on this one.
        """
        started = time.perf_counter()
        check_whole("batch_size", batch_size)
        results = list(self.results(_several(images), batch_size, show_progress=show_progress))
        return self.summarize(results, total_ms=(time.perf_counter() - started) * 1e3)

    def results(
        self, images: Sequence[Image], batch_size: int = 32, *, show_progress: bool = False
    ) -> Generator[ImageResult | ImageFailure, None, None]:
        """Yield what `predict_batch` gathers, in order, as it is done."""
        progress = tqdm(total=len(images), unit="img", disable=not show_progress)
        with progress, ThreadPoolExecutor(_cores()) as pool:
            for group, prepared in self._ahead(images, batch_size, pool):
                yield from self._predict_group(group, prepared)
                progress.update(len(group))

    def summarize(self, results: Sequence[ImageResult | ImageFailure], *, total_ms: float) -> BatchResults:
        return BatchResults(
            total_images=len(results),
            total_time_ms=round(total_ms, 3),
            avg_time_per_image_ms=round(total_ms / max(len(results), 1), 3),
            model_path=str(self.spec.path),
            model_format=self.spec.format,
            tta_enabled=bool(self._plan.inference.tta),
            results=results,
        )

    def scores(
        self, images: Sequence[Image], *, show_progress: bool = False
    ) -> Iterator[tuple[Image, NDArray[np.float32] | ImageError]]:
        """Yield each image with the model's own scores of shape (classes,), before any temperature."""
        progress = tqdm(total=len(images), unit="img", disable=not show_progress)
        with progress, ThreadPoolExecutor(_cores()) as pool:
            for group, outcomes in self._ahead(images, 32, pool):
                for image, outcome in zip(group, outcomes, strict=True):
                    yield image, outcome if isinstance(outcome, ImageError) else self._merged(outcome)
                progress.update(len(group))

    def _merged(self, prepared: Prepared) -> NDArray[np.float32]:
        merged: NDArray[np.float32] = self._model.scores(prepared.batch).mean(axis=0)
        return merged

    def _ahead(
        self, images: Sequence[Image], batch_size: int, pool: ThreadPoolExecutor
    ) -> Iterator[tuple[Sequence[Image], list[Prepared | ImageError]]]:
        waiting: tuple[Sequence[Image], list[Future[Prepared | ImageError]]] | None = None
        for start in range(0, len(images), batch_size):
            group = images[start : start + batch_size]
            submitted = [pool.submit(self._try_to_prepare, image) for image in group]
            if waiting:
                yield waiting[0], [future.result() for future in waiting[1]]
            waiting = (group, submitted)
        if waiting:
            yield waiting[0], [future.result() for future in waiting[1]]

    def _predict_group(
        self, group: Sequence[Image], outcomes: Sequence[Prepared | ImageError]
    ) -> Iterator[ImageResult | ImageFailure]:
        prepared = [outcome for outcome in outcomes if isinstance(outcome, Prepared)]
        answers = iter(pipeline.predict_many(self._model, prepared, self._plan) if prepared else ())
        for image, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, ImageError):
                yield _failure(image, outcome)
                continue
            answer = next(answers)
            if isinstance(answer, ImageError):
                yield _failure(image, answer)
                continue
            spent = outcome.decode_ms + outcome.preprocess_ms + answer.inference_ms + answer.postprocess_ms
            yield self._result(image, outcome, answer, spent)

    def _try_to_prepare(self, image: Image) -> Prepared | ImageError:
        try:
            return self._prepare(image)
        except FileNotFoundError:
            return ImageError("unreadable", "there is no such file")
        except ImageError as error:
            return error

    def _prepare(self, image: Image) -> Prepared:
        if isinstance(image, np.ndarray):
            return pipeline.prepare_pixels(_checked(image), self._plan)
        if isinstance(image, bytes):
            header = read_header(image)
            check_bounds(header, self._plan.bounds)
            return pipeline.prepare(image, header, self._plan)
        with open_image(image) as file:
            data, header = pipeline.read(file, self._plan)
        return pipeline.prepare(data, header, self._plan)

    def _result(self, image: Image, prepared: Prepared, answer: Answer, total_ms: float) -> ImageResult:
        best = answer.predictions[0]
        return ImageResult(
            image_path=_path(image),
            predicted_class=best.class_index,
            label=best.label,
            confidence=best.confidence,
            top_5_predictions={str(each.class_index): each.confidence for each in answer.predictions[:5]},
            predictions=list(answer.predictions),
            tta=answer.views,
            temperature=self._plan.temperature,
            warnings=list(prepared.warnings) or msgspec.UNSET,
            latency_ms=msgspec.structs.replace(
                pipeline.latency(prepared, answer, wait_ms=0.0), total=round(total_ms, 3)
            ),
        )


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
    """Classify many images, or one, by one model; write the answer as JSON where `output_path` says."""
    runtime = ImageInferenceRuntime(model_path, model_format, use_tta=use_tta)
    batch = runtime.predict_batch(image_paths, batch_size, show_progress=show_progress)
    if output_path is not None:
        batch.write(Path(output_path))
    return batch


def _several(images: Images) -> Sequence[Image]:
    """A path alone, of whose letters nobody wants to hear, is one image, as are bytes and pixels."""
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, str | bytes | os.PathLike):
        return [images]
    return images


def _checked(pixels: NDArray[np.generic]) -> Pixels:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ImageError(
            "unsupported_format",
            f"an array of {pixels.dtype} {pixels.shape}, not uint8 (height, width, 3) RGB",
        )
    return pixels.astype(np.uint8, copy=False)


def _failure(image: Image, error: ImageError) -> ImageFailure:
    return ImageFailure(image_path=_path(image), error=ErrorFacts(error.code, str(error)))


def _path(image: Image) -> str | None:
    return None if isinstance(image, bytes | np.ndarray) else os.fsdecode(image)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
