"""Maps from gradients, for Keras models: Grad-CAM and saliency."""

import os
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ImageError
from dropsight.explain.heatmap import Heatmap, normalized, overlay
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels, frame, resize
from dropsight.images.header import read_header
from dropsight.models.describing import UNIT_RANGE
from dropsight.models.gradients import Floats, KerasGradients
from dropsight.records import Normalization

Image: TypeAlias = str | os.PathLike[str] | NDArray[np.generic]
SaliencyMethod: TypeAlias = Literal["vanilla", "smoothgrad", "integrated"]


class _GradientMap:
    """`image` is a path, (height, width, 3) RGB uint8 pixels, or floats as the model takes them.

    Pixels are framed and normalised as for classification; floats are taken as they are, with or without
    a batch dimension of one.
    """

    def __init__(
        self,
        model: object,
        *,
        normalization: Normalization = UNIT_RANGE,
    ) -> None:
        self._gradients = model if isinstance(model, KerasGradients) else KerasGradients(model)
        self._normalization = normalization

    def overlay_heatmap(
        self, image: Image, heatmap: Heatmap, alpha: float = 0.4, colormap: str = "jet"
    ) -> Pixels:
        """Lay a heatmap over the picture that it was computed for; RGB uint8 of the model's input size."""
        return overlay(self.picture(image), heatmap, alpha=alpha, colormap=colormap)

    def picture(self, image: Image) -> Pixels:
        """Return what the model is shown, as (height, width, 3) RGB uint8."""
        height, width, _ = self._gradients.input_size
        if isinstance(image, np.ndarray) and image.dtype != np.uint8:
            floats = image.reshape(image.shape[-3:]).astype(np.float64)
            mean, std = np.array(self._normalization.mean), np.array(self._normalization.std)
            pixels = np.clip(np.round(floats * std + mean), 0, 255).astype(np.uint8)
            return resize(np.repeat(pixels, 3 // pixels.shape[2], axis=2), height=height, width=width)
        if isinstance(image, np.ndarray):
            return frame(image.astype(np.uint8, copy=False), height=height, width=width, how="crop")
        data = Path(image).read_bytes()
        pixels = decode(data, read_header(data), at_least=(height, width), how="crop")
        return frame(pixels, height=height, width=width, how="crop")

    def _input(self, image: Image) -> Floats:
        """Return (1, height, width, channels) as the model takes it."""
        height, width, channels = self._gradients.input_size
        if isinstance(image, np.ndarray) and image.dtype != np.uint8:
            floats = image.astype(np.float32).reshape(1, *image.shape[-3:])
            if floats.shape[1:] != (height, width, channels):
                raise ImageError(
                    "unsupported_format", f"floats of {floats.shape[1:]}, not {(height, width, channels)}"
                )
            return floats
        pixels = self.picture(image).astype(np.float32)
        if channels == 1:
            pixels = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, np.newaxis]
        mean, std = (
            np.asarray(self._normalization.mean, np.float32),
            np.asarray(self._normalization.std, np.float32),
        )
        return ((pixels - mean) / std)[np.newaxis].astype(np.float32)

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
        """Return (height, width) of the model's input; without a class, for the likeliest.

        Raises ModelError for a model without convolution, an unknown layer, a class out of range.
        """
        batch = self._input(image)
        maps, gradients = self._gradients.at_layer(batch, self._class(batch, class_idx), self._layer_name)
        weights = gradients[0].mean(axis=(0, 1))
        return normalized(maps[0] @ weights, height=batch.shape[1], width=batch.shape[2])


class SaliencyMap(_GradientMap):
    """max_c |dY/dx_c| (Simonyan et al. 2013), or what `method` names.

    smoothgrad: its mean over copies with noise (Smilkov et al. 2017);
    integrated: |sum_c (x - b)_c mean_a dY/dx_c(b + a (x - b))| over black b (Sundararajan et al. 2017).
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
        """`samples` are noisy copies, or steps of the integral; `noise` a share of the input's range."""
        super().__init__(model, normalization=normalization)
        self._method, self._samples, self._noise, self._seed = method, samples, noise, seed

    def compute_heatmap(self, image: Image, class_idx: int | None = None) -> Heatmap:
        """Return (height, width) of the model's input; raises as `GradCAM`'s."""
        batch = self._input(image)
        wanted = self._class(batch, class_idx)
        match self._method:
            case "vanilla":
                raw = np.abs(self._gradients.at_input(batch, wanted)).max(axis=3)[0]
            case "smoothgrad":
                raw = self._smooth(batch, wanted)
            case "integrated":
                raw = np.abs(self.attributions(batch, wanted)).sum(axis=2)
        # A few pixels outshine all others by far: they would leave the rest black.
        return normalized(
            np.minimum(raw, np.percentile(raw, 99.5)), height=batch.shape[1], width=batch.shape[2]
        )

    def attributions(self, image: Image, class_idx: int | None = None) -> Floats:
        """Integrated gradients, (height, width, channels).

        Completeness: their sum is the class's score for the image less that for the black one, as closely
        as the number of steps allows.
        """
        batch = self._input(image)
        wanted = self._class(batch, class_idx)
        black = self._black(batch)
        steps = (np.arange(self._samples, dtype=np.float32) + 0.5) / self._samples
        total = np.zeros_like(batch[0])
        for step in steps:
            total += self._gradients.at_input(black + step * (batch - black), wanted)[0]
        attributions: Floats = ((batch - black)[0] * total / self._samples).astype(np.float32)
        return attributions

    def completeness_error(self, image: Image, class_idx: int | None = None) -> float:
        """How far the attributions' sum is from the difference of scores, as a share of it."""
        batch = self._input(image)
        wanted = self._class(batch, class_idx)
        scores = self._gradients.scores(np.concatenate([batch, self._black(batch)]))[:, wanted]
        difference = float(scores[0] - scores[1])
        return abs(float(self.attributions(batch, wanted).sum()) - difference) / max(abs(difference), 1e-6)

    def _black(self, batch: Floats) -> Floats:
        black = -np.asarray(self._normalization.mean, np.float32) / np.asarray(
            self._normalization.std, np.float32
        )
        return np.broadcast_to(black, batch.shape).astype(np.float32)

    def _smooth(self, batch: Floats, class_index: int) -> NDArray[np.floating]:
        chance = np.random.default_rng(self._seed)
        spread = self._noise * float(np.ptp(batch))
        total = np.zeros(batch.shape[1:3])
        for _ in range(self._samples):
            noisy = batch + chance.normal(0, spread, batch.shape).astype(np.float32)
            total += np.abs(self._gradients.at_input(noisy, class_index)).max(axis=3)[0]
        return total / self._samples
