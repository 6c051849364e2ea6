"""One picture, one model of any format: which method, which classes, and the maps."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ModelError
from dropsight.explain.gradients import GradCAM, SaliencyMap
from dropsight.explain.heatmap import Heatmap
from dropsight.explain.perturbation import OcclusionMap, RiseMap
from dropsight.images.framing import Pixels
from dropsight.inference.preparing import Preparation
from dropsight.inference.ranking import merge, probabilities
from dropsight.models.backends import open_model
from dropsight.models.gradient_model import KerasGradients
from dropsight.models.spec import Model, ModelSpec

Method: TypeAlias = Literal["gradcam", "saliency", "smoothgrad", "integrated", "occlusion", "rise"]
METHODS: tuple[Method, ...] = get_args(Method)
GRADIENT_FREE = ("occlusion", "rise")


class Explanation(msgspec.Struct, frozen=True):
    """`pixels` is what the model was shown, (height, width, 3) RGB; the heatmap lies over it."""

    pixels: Pixels
    heatmap: Heatmap
    class_index: int
    label: str
    confidence: float
    method: Method


class Explainer:
    """Explains one model's answers. Raises ModelError for a method that the model's format does not allow."""

    def __init__(
        self,
        model: Model,
        method: Method | None = None,
        *,
        layer_name: str | None = None,
        temperature: float = 1.0,
        show_progress: bool = False,
    ) -> None:
        """`temperature` is multiplied with the model's own."""
        self.model, self.spec, self._temperature = model, model.spec, temperature
        self.method = method or default_method(self.spec)
        self._layer_name, self._show = layer_name, show_progress
        self._preparation = Preparation(self.spec)
        self._gradients: KerasGradients | None = None
        if layer_name is not None and self.method != "gradcam":
            raise ModelError(f"{self.spec.path}: a layer is for gradcam, not for {self.method}")
        if self.method not in GRADIENT_FREE:
            if self.spec.format != "keras":
                raise ModelError(
                    f"{self.spec.path}: {self.method} needs the gradients of a Keras model;"
                    f" {' and '.join(GRADIENT_FREE)} explain every format"
                )
            if self.spec.backend != "tensorflow":
                raise ModelError(
                    f"{self.spec.path}: {self.method} needs TensorFlow, and this model is computed by "
                    f"{self.spec.backend}; {' and '.join(GRADIENT_FREE)} explain it"
                )
            if kind := without_gradients(self.spec):
                raise ModelError(
                    f"{self.spec.path}: {self.method} does not support models with {kind};"
                    f" {' and '.join(GRADIENT_FREE)} explain them"
                )
            self._gradients = KerasGradients.open(self.spec.path)

    @classmethod
    def open(cls, path: str, method: Method | None = None, *, show_progress: bool = False) -> "Explainer":
        return cls(open_model(path), method, show_progress=show_progress)

    def explain(self, pixels: Pixels, *, classes: Sequence[int] = (), top: int = 1) -> list[Explanation]:
        """Explain these classes, or the `top` most likely; `pixels` are (height, width, 3) RGB, any size."""
        (squares,) = self._preparation.pictures(pixels)
        return self.explain_framed(self.surest(squares, *classes[:1]), classes, top=top)

    def surest(self, squares: Sequence[Pixels], class_index: int | None = None) -> Pixels:
        """Return the picture that shows a class most surely, or else any."""
        if len(squares) == 1:
            return squares[0]
        confidences = self.classify(np.stack(squares))
        of_class = confidences.max(axis=1) if class_index is None else confidences[:, class_index]
        return squares[int(of_class.argmax())]

    def explain_framed(
        self, framed: Pixels, classes: Sequence[int] = (), *, top: int = 1
    ) -> list[Explanation]:
        """As `explain`, for pixels of the model's own size."""
        confidences = self.classify(framed[np.newaxis])[0]
        wanted = classes or [int(index) for index in np.argsort(-confidences, kind="stable")[:top]]
        self.check_classes(wanted)
        return [
            Explanation(
                framed, heatmap, index, self.spec.labels[index], float(confidences[index]), self.method
            )
            for index, heatmap in zip(wanted, self.heatmaps(framed, wanted), strict=True)
        ]

    def check_classes(self, classes: Sequence[int]) -> None:
        """Raise ModelError for one that the model does not know."""
        for index in classes:
            if not 0 <= index < len(self.spec.labels):
                last = len(self.spec.labels) - 1
                raise ModelError(f"{self.spec.path}: class {index} is out of range: 0 to {last}")

    def classify(self, batch: NDArray[np.uint8]) -> NDArray[np.floating]:
        """Return (n, classes) probabilities of framed pictures, (n, height, width, 3)."""
        framed = [self._preparation.channels(picture) for picture in batch]
        scores = self.model.scores(self._preparation.batch(framed))
        return np.stack(
            [merge(probabilities(row[np.newaxis], self.spec, self._temperature)) for row in scores]
        )

    def heatmap(self, framed: Pixels, class_index: int) -> Heatmap:
        return self.heatmaps(framed, [class_index])[0]

    def heatmaps(self, framed: Pixels, classes: Sequence[int]) -> list[Heatmap]:
        """Return one map per class for pixels of the model's own size."""
        match self.method:
            case "occlusion":
                hiding = OcclusionMap(self.classify, show_progress=self._show)
                return hiding.compute_heatmaps(framed, classes)
            case "rise":
                masking = RiseMap(self.classify, show_progress=self._show)
                return masking.compute_heatmaps(framed, classes)
            case "gradcam":
                maps: GradCAM | SaliencyMap = GradCAM(
                    self._gradients, self._layer_name, normalization=self.spec.normalization
                )
            case "saliency" | "smoothgrad" | "integrated":
                maps = SaliencyMap(
                    self._gradients,
                    method="vanilla" if self.method == "saliency" else self.method,
                    normalization=self.spec.normalization,
                )
        # The very tensor that is classified: pixels would be cropped once more.
        floats = self._preparation.batch([self._preparation.channels(framed)])
        return [maps.compute_heatmap(floats, index) for index in classes]

    def shuffle_weights(self, seed: int) -> None:
        """Explain a network that learnt nothing (Adebayo et al. 2018); for methods by gradients."""
        if self._gradients:
            self._gradients.shuffle_weights(seed)


def default_method(spec: ModelSpec) -> Method:
    by_gradients = (spec.format, spec.backend) == ("keras", "tensorflow") and not without_gradients(spec)
    return "gradcam" if by_gradients else "rise"


def without_gradients(spec: ModelSpec) -> str:
    """Return what of the model's shape the maps by gradients do not support, else nothing."""
    if spec.layout == "NCHW":
        return "channels first"
    if spec.outputs > 1:
        return "several outputs"
    return "flattened pixels" if len(spec.taken) in {2, 3} else ""
