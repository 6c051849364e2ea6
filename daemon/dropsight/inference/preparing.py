"""Upright pixels to the batch that a model's input tensor takes, by look-up table."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight.images.framing import Pixels, Resize, frame
from dropsight.models.quantization import quantize
from dropsight.models.spec import Batch, ModelSpec

Framed = NDArray[np.uint8]  # (height, width, channels) of the model


class Preparation:
    """Thread-safe: the table is made once and only read.

    Normalised and quantized, an 8-bit pixel has 256 outcomes a channel: (pixel - mean) / std, put into
    the tensor's dtype by its scale and zero point.
    """

    def __init__(self, spec: ModelSpec, *, resize: Resize) -> None:
        self._spec, self._resize = spec, resize
        self._table = lookup_table(spec)

    def frame(self, pixels: Pixels) -> Framed:
        framed: Framed = frame(pixels, height=self._spec.height, width=self._spec.width, how=self._resize)
        if self._spec.channels == 1:
            framed = cv2.cvtColor(framed, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis].astype(np.uint8, copy=False)
        return framed

    def batch(self, framed: Sequence[Framed]) -> Batch:
        """Return (n, height, width, channels) in the input tensor's dtype."""
        if len(framed) == 1:
            return self._look_up(framed[0])[np.newaxis]
        return np.stack([self._look_up(each) for each in framed])

    def _look_up(self, framed: Framed) -> NDArray[np.generic]:
        if self._table.dtype == np.float16:  # which OpenCV's tables do not know
            return np.take_along_axis(self._table, framed.reshape(-1, framed.shape[2]), axis=0).reshape(
                framed.shape
            )
        looked_up: NDArray[np.generic] = cv2.LUT(framed, self._table[np.newaxis])
        return looked_up.reshape(framed.shape)


def lookup_table(spec: ModelSpec) -> NDArray[np.generic]:
    """Return (256, channels) in the input tensor's dtype."""
    channels = np.ones((1, spec.channels))
    pixels = np.arange(256.0)[:, np.newaxis]
    mean, std = np.array(spec.normalization.mean), np.array(spec.normalization.std)
    return np.ascontiguousarray(quantize((pixels - mean) / std * channels, spec.input))
