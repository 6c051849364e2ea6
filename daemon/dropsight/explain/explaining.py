"""One picture, one model of any format: which method, which classes, and the maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ModelError
from dropsight.explain.gradients import GradCAM, SaliencyMap
from dropsight.explain.heatmap import Heatmap
from dropsight.explain.perturbation import OcclusionMap, RiseMap
from dropsight.images.framing import Pixels, Resize, frame
from dropsight.inference.preparing import Preparation
from dropsight.inference.ranking import merge, probabilities
from dropsight.models.gradients import KerasGradients
from dropsight.models.registry import open_model
from dropsight.models.spec import Model

Method: TypeAlias = Literal["gradcam", "saliency", "smoothgrad", "integrated", "occlusion", "rise"]
METHODS: tuple[Method, ...] = get_args(Method)
GRADIENT_FREE = ("occlusion", "rise")


@dataclass(frozen=True, slots=True)
class Explanation:
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
        resize: Resize = "crop",
        show_progress: bool = False,
    ) -> None:
        self.model, self.spec, self._resize = model, model.spec, resize
        self.method = method or default_method(self.spec.format)
        self._layer_name, self._show = layer_name, show_progress
        self._preparation = Preparation(self.spec, resize=resize)
        self._gradients: KerasGradients | None = None
        if self.method not in GRADIENT_FREE:
            if self.spec.format != "keras":
                raise ModelError(
                    f"{self.spec.path}: {self.method} needs the gradients of a Keras model;"
                    f" {' and '.join(GRADIENT_FREE)} explain every format"
                )
            self._gradients = KerasGradients.open(self.spec.path)

    @classmethod
    def open(cls, path: str, method: Method | None = None, *, show_progress: bool = False) -> "Explainer":
        return cls(open_model(path), method, show_progress=show_progress)

    def explain(self, pixels: Pixels, *, classes: Sequence[int] = (), top: int = 1) -> Iterator[Explanation]:
        """Explain these classes, or the `top` likeliest; `pixels` are (height, width, 3) RGB of any size."""
        framed = frame(pixels, height=self.spec.height, width=self.spec.width, how=self._resize)
        return self.explain_framed(framed, classes, top=top)

    def explain_framed(
        self, framed: Pixels, classes: Sequence[int] = (), *, top: int = 1
    ) -> Iterator[Explanation]:
        """As `explain`, for pixels of the model's own size."""
        confidences = self.classify(framed[np.newaxis])[0]
        wanted = classes or [int(index) for index in np.argsort(-confidences, kind="stable")[:top]]
        for index in wanted:
            if not 0 <= index < len(confidences):
                raise ModelError(
                    f"{self.spec.path}: class {index} is out of range: 0 to {len(confidences) - 1}"
                )
        for index in wanted:
            yield Explanation(
                framed,
                self.heatmap(framed, index),
                index,
                self.spec.labels[index],
                float(confidences[index]),
                self.method,
            )

    def classify(self, batch: NDArray[np.uint8]) -> NDArray[np.floating]:
        """Return (n, classes) probabilities of framed pictures, (n, height, width, 3)."""
        framed = [self._preparation.channels(picture) for picture in batch]
        scores = self.model.scores(self._preparation.batch(framed))
        return np.stack([merge(probabilities(row[np.newaxis], self.spec, 1.0)) for row in scores])

    def heatmap(self, framed: Pixels, class_index: int) -> Heatmap:
        match self.method:
            case "occlusion":
                return OcclusionMap(self.classify, show_progress=self._show).compute_heatmap(
                    framed, class_index
                )
            case "rise":
                return RiseMap(self.classify, show_progress=self._show).compute_heatmap(framed, class_index)
            case "gradcam":
                by_layer = GradCAM(self._gradients, self._layer_name, normalization=self.spec.normalization)
                return by_layer.compute_heatmap(framed, class_index)
            case "saliency":
                return self._saliency("vanilla", framed, class_index)
            case "smoothgrad" | "integrated":
                return self._saliency(self.method, framed, class_index)

    def _saliency(
        self, method: Literal["vanilla", "smoothgrad", "integrated"], framed: Pixels, class_index: int
    ) -> Heatmap:
        by_input = SaliencyMap(self._gradients, method=method, normalization=self.spec.normalization)
        return by_input.compute_heatmap(framed, class_index)


def default_method(model_format: str) -> Method:
    return "gradcam" if model_format == "keras" else "rise"
