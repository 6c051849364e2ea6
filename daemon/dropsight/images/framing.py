"""From a picture of any shape to the model's: crop, stretch or letterbox."""

from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight.records import USUAL_FRAMING, Resize

Pixels: TypeAlias = NDArray[np.uint8]  # (height, width, 3), RGB, upright

CROP_FRACTION = USUAL_FRAMING.central
# Mid-gray lies near the mean of photos, so a border of it says least to a model.
_BORDER = 127


@lru_cache(maxsize=64)  # a camera's pictures have one size
def crop_size(width: int, height: int, *, aspect: float, fraction: float) -> tuple[int, int]:
    """Width and height of the centred rectangle of this aspect (width / height): `fraction` of what fits.

    Truly centred, so that the crop of a mirrored picture is the mirrored crop; hence to a pixel only.
    """
    fitting = min(width, height * aspect)
    return _centred(fitting * fraction, width), _centred(fitting / aspect * fraction, height)


def _centred(size: float, whole: int) -> int:
    """Leave as much on one side as on the other."""
    rounded = round(size)
    return max(rounded - (whole - rounded) % 2, 1)


def used_size(
    width: int, height: int, *, to: tuple[int, int], how: Resize, fraction: float = CROP_FRACTION
) -> tuple[int, int]:
    """Width and height of the part of a picture that framing to (height, width) makes use of."""
    if how == "crop":
        return crop_size(width, height, aspect=to[1] / to[0], fraction=fraction)
    return width, height


def frame(
    pixels: Pixels, *, height: int, width: int, how: Resize, crop_fraction: float = CROP_FRACTION
) -> Pixels:
    """Return (height, width, 3), resized as `resize` does."""
    if how == "crop":
        box = crop_box(pixels, aspect=width / height, fraction=crop_fraction)
        return resize(pixels[box], height=height, width=width)
    if how == "stretch":
        return resize(pixels, height=height, width=width)
    return _letterbox(pixels, height=height, width=width)


def resize(pixels: Pixels, *, height: int, width: int) -> Pixels:
    """Return (height, width, 3): shrunk by area, or as good as by area, and enlarged linearly.

    A linear sample is the mean over a box of one pixel, and the mean of two samples, half a step apart, that
    over a box of up to two. Where that is nearly the box to be shrunk by, it takes a third of the time.
    """
    down, across = pixels.shape[0] / height, pixels.shape[1] / width
    if down == across == 1:
        return np.ascontiguousarray(pixels)
    if max(down, across) <= 1:
        return _resized(pixels, height, width, cv2.INTER_LINEAR)
    rows, columns = _samples(down), _samples(across)
    if rows and columns:
        pixels = _resized(pixels, rows * height, columns * width, cv2.INTER_LINEAR)
    return _resized(pixels, height, width, cv2.INTER_AREA)


def _samples(scale: float) -> int:
    """Return how many linear samples stand in for the mean over `scale` pixels; 0 where none would do."""
    if 1 <= scale <= 1.1:
        return 1
    return 2 if 1.4 <= scale <= 2 else 0


def _resized(pixels: Pixels, height: int, width: int, method: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=method).astype(np.uint8, copy=False)


def crop_box(pixels: Pixels, *, aspect: float, fraction: float = CROP_FRACTION) -> tuple[slice, slice]:
    """Return rows and columns of the central crop."""
    height, width = pixels.shape[:2]
    crop_width, crop_height = crop_size(width, height, aspect=aspect, fraction=fraction)
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return slice(top, top + crop_height), slice(left, left + crop_width)


def _letterbox(pixels: Pixels, *, height: int, width: int) -> Pixels:
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    inner = resize(
        pixels,
        height=max(round(pixels.shape[0] * scale), 1),
        width=max(round(pixels.shape[1] * scale), 1),
    )
    framed = np.full((height, width, 3), _BORDER, np.uint8)
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    framed[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return framed
