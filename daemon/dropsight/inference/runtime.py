"""Opening a model for single images and batches, in notebooks and on the command line."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from dropsight.config import Head, Inference, Members
from dropsight.errors import ModelError
from dropsight.images.opening import Bounds
from dropsight.inference.accepted_images import Images
from dropsight.inference.interpreters import Interpreters
from dropsight.inference.option_checks import OF_IMAGES, check_options
from dropsight.inference.planning import Plan
from dropsight.inference.predictor import Predictor
from dropsight.inference.preparing import Preparation, PreprocessFn
from dropsight.inference.results import (
    BatchResults,
)
from dropsight.inference.runtime_options import views_of
from dropsight.inference.wording import without_effect
from dropsight.models.backends import open_model
from dropsight.models.features import no_features
from dropsight.models.guesses import guess_of
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import Model, ModelOptions
from dropsight.records import Normalization, Resize

log = logging.getLogger(__name__)

DEFAULT_MODEL = "builtin:efficientnet_lite0"


class ImageInferenceRuntime(Predictor):
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
        given = locals()
        check_options(OF_IMAGES, {name: given[name] for name in OF_IMAGES})
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
        threads = threads or len(os.sched_getaffinity(0))
        options = ModelOptions(threads, embeddings=embeddings)
        inference = Inference(
            top_k=top_k, temperature=temperature, tta=views if use_tta else (), unknown=unknown
        )
        model = _opened(os.fspath(model_path), model_format, said, options, inference)
        preparation = Preparation(model.spec, preprocess_fn=preprocess_fn)
        plan = Plan(device="", spec=model.spec, preparation=preparation, bounds=Bounds(), inference=inference)
        super().__init__(plan, Interpreters(model, threads), threads)


def _opened(
    path: str, model_format: str, said: ModelOverrides, options: ModelOptions, inference: Inference
) -> Model:
    """Open it, and warn of what is slow, guessed or without effect."""
    model = open_model(path, said=said, options=options)
    spec = model.spec
    if options.embeddings and not spec.features:
        raise no_features(spec.path, f"the backend of {spec.format} has no way to them")
    if model_format not in {"auto", spec.format}:
        raise ModelError(f"{spec.path}: the model is {spec.format}, not {model_format}")
    slow = spec.kernels.fault if spec.kernels else None
    for fault in filter(None, (slow, guess_of(spec), without_effect(spec, inference))):
        log.warning("%s: %s", spec.name, fault)
    return model


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
