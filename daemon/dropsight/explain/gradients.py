"""Maps from gradients, for Keras models: Grad-CAM and saliency."""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dropsight.explain.heatmap import Colormap, Heatmap, normalized, overlay
from dropsight.explain.inputs import Image, Inputs
from dropsight.images.framing import Pixels
from dropsight.models.describing import UNIT_RANGE
from dropsight.models.gradient_model import Floats, KerasGradients
from dropsight.records import Normalization

log = logging.getLogger(__name__)

SaliencyMethod: TypeAlias = Literal["vanilla", "smoothgrad", "integrated"]

TOLERANCE = 0.05
MOST_STEPS = 256

_Measure: TypeAlias = Callable[[Floats], Floats]


class _GradientMap:
    """See `Inputs` for what an image may be."""

    def __init__(self, model: object, *, normalization: Normalization = UNIT_RANGE) -> None:
        self._gradients = model if isinstance(model, KerasGradients) else KerasGradients(model)
        self._inputs = Inputs(self._gradients, normalization)

    def overlay_heatmap(
        self, image: Image, heatmap: Heatmap, alpha: float = 0.4, colormap: Colormap = "jet"
    ) -> Pixels:
        """Lay a heatmap over the picture that it was computed for, RGB uint8 of the picture's own size.

        It covers what the model sees, the central crop, and leaves the rest as it is.
        """
        pixels, seen = self._inputs.picture(image)
        laid = pixels.copy()
        laid[seen] = overlay(pixels[seen], heatmap, alpha=alpha, colormap=colormap)
        return laid

    def _class(self, batch: Floats, class_idx: int | None) -> int:
        return int(self._gradients.scores(batch)[0].argmax()) if class_idx is None else class_idx


class GradCAM(_GradientMap):
    """ReLU(sum_k w_k A_k), w_k = mean_ij dY/dA_k (Selvaraju et al. 2017, eq. 1-2).

    A is the output of `layer_name`, or of the last convolution; Y the class's score before softmax.
    """

    def __init__(
        self,
        model: object,
        layer_name: str | None = None,
        *,
        normalization: Normalization = UNIT_RANGE,
    ) -> None:
        super().__init__(model, normalization=normalization)
        self._layer_name = layer_name

    def compute_heatmap(self, image: Image, class_idx: int | None = None) -> Heatmap:
        """Return (height, width) of the model's input; without a class, for the most likely one.

        Raises ModelError for a model without convolution, an unknown layer, a class out of range.
        """
        batch = self._inputs.batch(image)
        maps, gradients = self._gradients.at_layer(batch, self._class(batch, class_idx), self._layer_name)
        weights = gradients[0].mean(axis=(0, 1))
        return normalized(maps[0] @ weights, height=batch.shape[1], width=batch.shape[2])


class Integrated(NamedTuple):
    """Attributions (height, width, channels), and how far their sum is from what it must be, as a share."""

    attributions: Floats
    error: float
    steps: int


class SaliencyMap(_GradientMap):
    """max_c |dY/dx_c| (Simonyan et al. 2013), or what `method` names.

    smoothgrad: its mean over copies with noise (Smilkov et al. 2017);
    integrated: sum_c |(x - b)_c mean_a dY/dx_c(b + a (x - b))| over black b (Sundararajan et al. 2017).
    """

    def __init__(
        self,
        model: object,
        *,
        method: SaliencyMethod = "vanilla",
        samples: int = 32,
        noise: float = 0.15,
        seed: int = 0,
        normalization: Normalization = UNIT_RANGE,
    ) -> None:
        """`samples` are noisy copies, or the integral's first steps; `noise` a share of the input's range."""
        super().__init__(model, normalization=normalization)
        self._method, self._samples, self._noise, self._seed = method, samples, noise, seed

    def compute_heatmap(self, image: Image, class_idx: int | None = None) -> Heatmap:
        """Return (height, width) of the model's input; raises as `GradCAM`'s."""
        batch = self._inputs.batch(image)
        wanted = self._class(batch, class_idx)
        match self._method:
            case "vanilla":
                raw = np.abs(self._gradients.at_input(batch, wanted)).max(axis=3)[0]
            case "smoothgrad":
                raw = self._mean(wanted, self._noisy(batch), of=_strongest)
            case "integrated":
                raw = np.abs(self.integrate(batch, wanted).attributions).sum(axis=2)
        # A few pixels outshine all others by far: they would leave the rest black, where there is a rest.
        limit = float(np.percentile(raw, 99.5))
        shown = np.minimum(raw, limit) if limit > 0 else raw
        return normalized(shown, height=batch.shape[1], width=batch.shape[2])

    def integrate(self, image: Image, class_idx: int | None = None) -> Integrated:
        """Integrate from black to the image, in ever more steps until the attributions are complete.

        Completeness: they sum to the class's score for the image less that for the black one. What is
        off by more than a twentieth after 256 steps is warned of.
        """
        batch = self._inputs.batch(image)
        wanted, black = self._class(batch, class_idx), self._inputs.black(batch)
        scores = self._gradients.scores(np.concatenate([batch, black]))[:, wanted]
        difference, steps = float(scores[0] - scores[1]), self._samples
        while True:
            found = self._integrate(batch, black, wanted, steps)
            error = abs(float(found.sum()) - difference) / max(abs(difference), 1e-6)
            if error <= TOLERANCE or steps * 2 > MOST_STEPS:
                break
            steps *= 2
        level = logging.INFO if error <= TOLERANCE else logging.WARNING
        text = "integrated gradients of class %d, %d steps: their sum is off the score's difference by %.1f%%"
        log.log(level, text, wanted, steps, error * 100)
        return Integrated(found, error, steps)

    def _integrate(self, batch: Floats, black: Floats, class_index: int, steps: int) -> Floats:
        way = ((step + 0.5) / steps for step in range(steps))
        inputs = (black + np.float32(share) * (batch - black) for share in way)
        mean = self._mean(class_index, inputs, of=np.asarray)
        attributions: Floats = ((batch - black)[0] * mean).astype(np.float32)
        return attributions

    def _noisy(self, batch: Floats) -> Iterator[Floats]:
        chance = np.random.default_rng(self._seed)
        spread = self._noise * float(np.ptp(batch))
        for _ in range(self._samples):
            yield batch + chance.normal(0, spread, batch.shape).astype(np.float32)

    def _mean(self, class_index: int, inputs: Iterable[Floats], *, of: _Measure) -> NDArray[np.floating]:
        remaining, total, count = iter(inputs), np.zeros(()), 0
        while group := list(islice(remaining, self._gradients.most_at_once)):
            measured = of(self._gradients.at_input(np.concatenate(group), class_index))
            total = total + measured.sum(axis=0, dtype=np.float64)
            count += len(group)
        return np.asarray(total / count)


def _strongest(gradients: Floats) -> Floats:
    strongest: Floats = np.abs(gradients).max(axis=3)
    return strongest
