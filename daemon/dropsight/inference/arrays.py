"""Pictures that are in memory already, NumPy's and Pillow's, to the pixels that decoding a file gives."""

import struct
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ImageError
from dropsight.images.decoding import upright
from dropsight.images.framing import Pixels

Array: TypeAlias = NDArray[Any]


class PillowImage(Protocol):
    """What is used of a PIL.Image.Image; Pillow itself is not imported."""

    @property
    def mode(self) -> str: ...
    @property
    def __array_interface__(self) -> Mapping[str, object]: ...
    def convert(self, mode: str) -> Any: ...  # noqa: ANN401 - Pillow's image
    def getexif(self) -> Any: ...  # noqa: ANN401 - Pillow's mapping


WITHIN = 1e-4
"""Rounding takes floats so far past 0 or 1; nobody sees a fortieth of a step of 8 bits."""
# Converting these straight to RGB clips 16 bits to 8, or warns of alpha.
_AS_ARRAY = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_PALETTES = ("P", "PA")
_ORIENTATION = 0x0112
# What Pillow raises for files that are cut short or damaged, which it reads on first use, and odd modes.
_UNREADABLE = (OSError, SyntaxError, ValueError, KeyError, TypeError, EOFError, IndexError, struct.error)


def is_pillow(image: object) -> bool:
    """Tell by the type: to ask an image itself for its array reads its file."""
    return hasattr(type(image), "convert") and hasattr(type(image), "__array_interface__")


def pixels_of_pillow(image: PillowImage) -> Pixels:
    """Return it upright, by the EXIF orientation that it still has, and without alpha; raises ImageError."""
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
        if image.mode in _AS_ARRAY:
            array = _shallow(np.asarray(image))
        else:
            array = np.asarray(image.convert("RGBA" if image.mode in _PALETTES else "RGB"))
    except _UNREADABLE as error:
        raise ImageError("unreadable", f"Pillow cannot read its {image.mode} image: {error}") from error
    return upright(pixels_of_array(array), orientation)


def pixels_of_array(array: Array) -> Pixels:
    """Return (height, width, 3) RGB uint8 of an array as `ImageInferenceRuntime` says; raises ImageError."""
    given = f"an array of shape {array.shape}"
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] not in {1, 3, 4}:
        raise ImageError("unsupported_format", f"{given}, {_wanted(array)}")
    if not array.size:
        raise ImageError("empty", f"{given} has no pixels")
    pixels = _eight_bits(array[:, :, :3])
    if pixels.shape[2] == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
    return np.ascontiguousarray(pixels)


def _wanted(array: Array) -> str:
    wanted = "not (height, width), gray, or (height, width, 1, 3 or 4), gray, RGB or RGBA"
    if array.ndim == 3 and array.shape[0] in {1, 3, 4}:
        return f"{wanted}; with channels first, give array.transpose(1, 2, 0)"
    return wanted


def _shallow(array: Array) -> Array:
    """Take Pillow's mode I, 32 bits, for what it mostly holds: the 16 of a PNG."""
    if array.dtype.kind == "i" and array.size and array.min() >= 0 and array.max() < 2**16:
        return array.astype(np.uint16)
    return array


def _eight_bits(array: Array) -> Pixels:
    """Return uint8 of the same shape; a new array unless it was one."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if (kind, size) == ("u", 1):
        return cast("Pixels", array)
    if (kind, size) == ("u", 2):
        return np.right_shift(array, 8).astype(np.uint8)
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if kind in "iu":
        _check_within(array, 0, 255, "or give uint8, or uint16 for 16 bits")
        return array.astype(np.uint8)
    if kind == "f":
        _check_within(array, -WITHIN, 1 + WITHIN, "scale them, or give uint8")
        return np.rint(np.clip(array.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    raise ImageError(
        "unsupported_format", f"an array of {array.dtype}; give uint8, uint16, or floats in 0..1"
    )


def _check_within(array: Array, low: float, high: float, way_out: str) -> None:
    least, most = array.min(), array.max()
    if low <= least and most <= high:
        return
    bounds = f"{round(low)}..{round(high)}"
    found = "some are NaN" if np.isnan(least) else f"these go from {least:g} to {most:g}"
    raise ImageError(
        "unsupported_format", f"{array.dtype} pixels must lie in {bounds}, and {found}: {way_out}"
    )
