"""Upright pixels to the batch that a model's input tensor takes, by look-up table."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight.images.framing import Pixels, frames
from dropsight.images.views import AS_IT_IS, VIEWS, views
from dropsight.models.quantization import quantize
from dropsight.models.spec import Batch, ModelSpec
from dropsight.records import Box

Framed: TypeAlias = NDArray[np.uint8]  # (height, width, channels) of the model
PreprocessFn: TypeAlias = Callable[[Pixels], NDArray[np.floating]]
ONE_SQUARE = (1,)


class PartsBatch(NamedTuple):
    """Views of the parts of a picture, in the input tensor's dtype and layout.

    `squares` are how many pictures of the model's size each part was made.
    """

    batch: Batch
    squares: tuple[int, ...] = ONE_SQUARE


class Preparation:
    """Thread-safe: the table is made once and only read.

    Normalised and quantized, an 8-bit pixel has 256 outcomes a channel: (pixel - mean) / std, put into
    the tensor's dtype by its scale and zero point.
    """

    def __init__(self, spec: ModelSpec, *, preprocess_fn: PreprocessFn | None = None) -> None:
        self._spec, self._preprocess = spec, preprocess_fn
        self._height, self._width, self._is_gray = spec.height, spec.width, spec.channels == 1
        self._table = lookup_table(spec)
        self._shift = shift_of(self._table)

    @property
    def whole(self) -> bool:
        """Whether pixels must come as they are, as the caller's own function frames them."""
        return self._preprocess is not None

    def batch_of(self, pixels: Pixels, view_names: Sequence[str], boxes: Sequence[Box] = ()) -> PartsBatch:
        """Return a batch of the views of all parts of a picture, by part, then by square, then by view."""
        if self._preprocess is None:
            return self.batch_of_parts(self.pictures(pixels, boxes), view_names)
        own = np.asarray(self._preprocess(pixels))
        expected = (self._spec.height, self._spec.width, self._spec.channels)
        if own.shape != expected:
            raise ValueError(f"preprocess_fn returned an array of {own.shape}; the model takes {expected}")
        own_views = np.stack([VIEWS[name](own) for name in view_names])
        return PartsBatch(self._laid_out(quantize(own_views, self._spec.input)))

    def batch_of_parts(self, parts: Sequence[Sequence[Pixels]], view_names: Sequence[str]) -> PartsBatch:
        """As `batch_of`, of what `pictures` returns."""
        framed = list(chain.from_iterable(parts))
        if self._is_gray:
            framed = [self.channels(square) for square in framed]
        if view_names != AS_IT_IS:
            framed = [view for each in framed for view in views(each, view_names)]
        batch = self.batch(framed)
        return PartsBatch(batch, tuple(map(len, parts)) if len(batch) > 1 else ONE_SQUARE)

    def frame(self, pixels: Pixels) -> Framed:
        return self.channels(self.picture(pixels))

    def picture(self, pixels: Pixels) -> Pixels:
        """Return what the model sees of them, RGB of its size; of several squares, the first."""
        return self.pictures(pixels)[0][0]

    def pictures(self, pixels: Pixels, boxes: Sequence[Box] = ()) -> list[list[Pixels]]:
        """Return what the model sees of each part, RGB of its size: one picture, or several squares."""
        return frames(
            pixels,
            height=self._height,
            width=self._width,
            how=self._spec.framing.resize,
            crop_fraction=self._spec.framing.central,
            boxes=boxes,
        )

    def channels(self, framed: Framed) -> Framed:
        """Return RGB of the model's size with as many channels as the model takes."""
        if self._is_gray:
            framed = cv2.cvtColor(framed, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis].astype(np.uint8, copy=False)
        return framed

    def pixels_of(self, prepared: NDArray[np.generic]) -> Pixels:
        """Return the RGB pixels that this one of a batch was made from, or nearly."""
        if self._spec.layout == "NCHW":
            prepared = prepared.transpose(1, 2, 0)
        channels = [
            np.searchsorted(self._table[:, channel], prepared[:, :, channel]).clip(0, 255)
            for channel in range(prepared.shape[2])
        ]
        if self._spec.color_order == "BGR":
            channels.reverse()
        pixels = np.stack(channels * (3 // len(channels)), axis=2)
        return pixels.astype(np.uint8)

    def batch(self, framed: Sequence[Framed]) -> Batch:
        """Return a batch in the input tensor's dtype and layout."""
        if len(framed) == 1:
            return self._laid_out(self._look_up(framed[0])[np.newaxis])
        return self._laid_out(np.stack([self._look_up(each) for each in framed]))

    def _laid_out(self, batch: Batch) -> Batch:
        if self._spec.layout == "NCHW":
            return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        return batch

    def _look_up(self, framed: Framed) -> NDArray[np.generic]:
        if self._spec.color_order == "BGR" and framed.shape[2] == 3:
            framed = cv2.cvtColor(framed, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
        if self._shift is not None:
            return np.add(framed, self._shift).view(self._table.dtype)
        if self._table.dtype == np.float16:  # which OpenCV's tables do not know
            return np.take_along_axis(self._table, framed.reshape(-1, framed.shape[2]), axis=0).reshape(
                framed.shape
            )
        looked_up: NDArray[np.generic] = cv2.LUT(framed, self._table[np.newaxis])  # type: ignore[arg-type] # numbers, all of them
        return looked_up.reshape(framed.shape)


def lookup_table(spec: ModelSpec) -> NDArray[np.generic]:
    """Return (256, channels) in the input tensor's dtype."""
    channels = np.ones((1, spec.channels))
    pixels = np.arange(256.0)[:, np.newaxis]
    mean, std = np.array(spec.normalization.mean), np.array(spec.normalization.std)
    return np.ascontiguousarray(quantize((pixels - mean) / std * channels, spec.input))


def shift_of(table: NDArray[np.generic]) -> np.uint8 | None:
    """Return what to add to pixels, modulo 256, instead of looking them up; None for any other table.

    Integer models have mostly been quantized so that their steps are those of the pixels.
    """
    if table.dtype.itemsize != 1:
        return None
    shifts = table.view(np.uint8) - np.arange(256, dtype=np.uint8)[:, np.newaxis]
    return np.uint8(shifts[0, 0]) if (shifts == shifts[0, 0]).all() else None
