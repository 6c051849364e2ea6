"""From a picture of any shape to the model's: crop, stretch, letterbox, or several squares that cover it."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight.records import USUAL_FRAMING, Box, Resize

Pixels: TypeAlias = NDArray[np.uint8]  # (height, width, 3), RGB, upright

CROP_FRACTION = USUAL_FRAMING.central
# Mid-gray lies near the mean of photos, so a border of it says least to a model.
_BORDER = 127
# A side that is hardly longer than the model's is worth no second square.
_NEARLY = 1.03
# Of pictures as long as a ribbon.
MOST_SQUARES = 8
Place: TypeAlias = tuple[slice, slice]
"""Rows and columns of a picture."""


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
    """Width and height of the part of a picture that becomes one of (height, width)."""
    if how == "crop":
        return crop_size(width, height, aspect=to[1] / to[0], fraction=fraction)
    if how == "cover":
        rows, columns = squares(width, height, aspect=to[1] / to[0])[0]
        return columns.stop - columns.start, rows.stop - rows.start
    return width, height


@lru_cache(maxsize=64)  # a camera's pictures have one size
def squares(width: int, height: int, *, aspect: float) -> tuple[Place, ...]:
    """Return the fewest places of this aspect (width / height) that together cover a picture, evenly apart.

    They are squares of most models: one of a picture that is nearly square, two of 16:9. Each is as large as
    fits, so those next to each other overlap. At most 8: ribbons are looked at with gaps.
    """
    across, down = crop_size(width, height, aspect=aspect, fraction=1.0)
    return tuple(
        (slice(top, top + down), slice(left, left + across))
        for top in _starts(height, down)
        for left in _starts(width, across)
    )


def _starts(whole: int, part: int) -> list[int]:
    """Return where parts of a side begin, as far from one end as from the other."""
    count = min(math.ceil(whole / part / _NEARLY), MOST_SQUARES)
    if count == 1:
        return [(whole - part) // 2]
    return [round(number * (whole - part) / (count - 1)) for number in range(count)]


def place_of(box: Box, width: int, height: int) -> Place:
    """Return the rows and columns of a part of a picture: to a pixel, and one at least."""
    left, top, right, bottom = box
    return _span(top, bottom, height), _span(left, right, width)


def _span(start: float, end: float, whole: int) -> slice:
    first = min(round(start * whole), whole - 1)
    return slice(first, max(round(end * whole), first + 1))


def frame(
    pixels: Pixels, *, height: int, width: int, how: Resize, crop_fraction: float = CROP_FRACTION
) -> Pixels:
    """Return (height, width, 3), resized as `resize` does; of several squares the first."""
    return _frames(pixels, height, width, how, crop_fraction)[0]


def frames(
    pixels: Pixels,
    *,
    height: int,
    width: int,
    how: Resize,
    crop_fraction: float = CROP_FRACTION,
    boxes: Sequence[Box] = (),
) -> list[list[Pixels]]:
    """Return what a model sees of each part, or of the whole without `boxes`, as (height, width, 3) pictures.

    One picture a part, several where they cover it; resized as `resize` does. A part is a picture of its own,
    of which a crop leaves out nothing but what the model's shape does.
    """
    if not boxes:
        return [_frames(pixels, height, width, how, crop_fraction)]
    parts = [pixels[place_of(box, pixels.shape[1], pixels.shape[0])] for box in boxes]
    return [_frames(part, height, width, how, 1.0) for part in parts]


def _frames(pixels: Pixels, height: int, width: int, how: Resize, fraction: float) -> list[Pixels]:
    if how == "letterbox":
        return [_letterbox(pixels, height=height, width=width)]
    return [
        resize(pixels[place], height=height, width=width)
        for place in places(pixels.shape[1], pixels.shape[0], to=(height, width), how=how, fraction=fraction)
    ]


@lru_cache(maxsize=64)  # a camera's pictures have one size
def places(
    width: int, height: int, *, to: tuple[int, int], how: Resize, fraction: float = CROP_FRACTION
) -> tuple[Place, ...]:
    """Return the places of a picture that framing to (height, width) makes pictures of."""
    aspect = to[1] / to[0]
    if how == "cover":
        return squares(width, height, aspect=aspect)
    if how == "crop":
        return (_central(width, height, aspect, fraction),)
    return ((slice(0, height), slice(0, width)),)


def resize(pixels: Pixels, *, height: int, width: int) -> Pixels:
    """Return (height, width, 3): shrunk by area, or as good as by area, and enlarged linearly.

    A linear sample is the mean over a box of one pixel, and the mean of two samples, half a step apart, that
    over a box of up to two. Where that is nearly the box to be shrunk by, it takes a third of the time.
    """
    for size, method in _steps(pixels.shape[1], pixels.shape[0], width, height):
        pixels = cv2.resize(pixels, size, interpolation=method).astype(np.uint8, copy=False)
    return np.ascontiguousarray(pixels)


@lru_cache(maxsize=64)  # a camera's pictures have one size
def _steps(width: int, height: int, to_width: int, to_height: int) -> tuple[tuple[tuple[int, int], int], ...]:
    """Return what to resize to one after the other, as (width, height), and how."""
    across, down = width / to_width, height / to_height
    if max(down, across) <= 1:
        wanted = [((to_width, to_height), cv2.INTER_LINEAR)]
    else:
        rows, columns = _samples(down), _samples(across)
        sampled = [((columns * to_width, rows * to_height), cv2.INTER_LINEAR)] if rows and columns else []
        wanted = [*sampled, ((to_width, to_height), cv2.INTER_AREA)]
    sizes = [(width, height), *(size for size, _ in wanted)]
    return tuple(step for step, before in zip(wanted, sizes, strict=False) if step[0] != before)


def _samples(scale: float) -> int:
    """Return how many linear samples stand in for the mean over `scale` pixels; 0 where none would do."""
    if 1 <= scale <= 1.1:
        return 1
    return 2 if 1.4 <= scale <= 2 else 0


def crop_box(pixels: Pixels, *, aspect: float, fraction: float = CROP_FRACTION) -> Place:
    """Return rows and columns of the central crop."""
    height, width = pixels.shape[:2]
    return _central(width, height, aspect, fraction)


def _central(width: int, height: int, aspect: float, fraction: float) -> Place:
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
