"""What an explanation is asked about, as the model takes it and as a person sees it."""

import os
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ImageError
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels, crop_box, resize
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds, open_named
from dropsight.models.gradient_model import Floats, KerasGradients
from dropsight.records import Normalization
from dropsight.video.sniffing import HEAD_BYTES, is_clip

Image: TypeAlias = str | os.PathLike[str] | NDArray[np.generic]
Place: TypeAlias = tuple[slice, slice]
"""Rows and columns of a picture."""


class Inputs:
    """A path, (height, width, 3) RGB uint8 pixels, or floats as the model takes them.

    Pixels are framed and normalised as for classification; floats are taken as they are. Either may have a
    batch dimension of one.
    """

    def __init__(self, gradients: KerasGradients, normalization: Normalization) -> None:
        self._gradients, self._normalization = gradients, normalization

    def batch(self, image: Image) -> Floats:
        """Return (1, height, width, channels) as the model takes it."""
        if _is_floats(image):
            return self._floats(image)
        pixels = photo(image)
        height, width = self._size(pixels)
        framed = resize(pixels[crop_box(pixels, aspect=width / height)], height=height, width=width)
        tensor = framed.astype(np.float32)
        if self._gradients.input_size[2] == 1:
            tensor = (tensor @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, np.newaxis]
        mean, std = self._mean_and_std()
        return ((tensor - mean) / std)[np.newaxis].astype(np.float32)

    def picture(self, image: Image) -> tuple[Pixels, Place]:
        """Return the whole picture, RGB, and where in it is what the model sees."""
        if _is_floats(image):
            pixels = self._visible(self._floats(image)[0])
            return pixels, (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
        pixels = photo(image)
        height, width = self._size(pixels)
        return pixels, crop_box(pixels, aspect=width / height)

    def black(self, batch: Floats) -> Floats:
        mean, std = self._mean_and_std()
        return np.broadcast_to(-mean / std, batch.shape).astype(np.float32)

    def _size(self, pixels: Pixels) -> tuple[int, int]:
        height, width, _ = self._gradients.input_size
        return height or pixels.shape[0], width or pixels.shape[1]

    def _floats(self, image: Image) -> Floats:
        floats = np.asarray(image, np.float32)
        if floats.ndim == 3:
            floats = floats[np.newaxis]
        wanted = self._gradients.input_size
        fits = floats.ndim == 4 and len(floats) == 1
        if not fits or any(
            size not in {None, own} for size, own in zip(wanted, floats.shape[1:], strict=True)
        ):
            raise ImageError("unsupported_format", f"floats of {floats.shape}, but the model takes {wanted}")
        return floats

    def _visible(self, floats: Floats) -> Pixels:
        """Return RGB; floats of another range than the normalisation's are stretched into sight."""
        mean, std = self._mean_and_std()
        shown = floats.astype(np.float64) * std + mean
        least, most = float(shown.min()), float(shown.max())
        if least < -1 or most > 256:
            shown = (shown - least) * (255 / (most - least))
        pixels = np.clip(np.round(shown), 0, 255).astype(np.uint8)
        return np.repeat(pixels, 3 // pixels.shape[2], axis=2)

    def _mean_and_std(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.asarray(self._normalization.mean, np.float32), np.asarray(
            self._normalization.std, np.float32
        )


def photo(image: Image) -> Pixels:
    """Return upright RGB of full size; raises ImageError, FileNotFoundError."""
    if not isinstance(image, np.ndarray):
        with open_named(image) as file:
            if is_clip(file.head(HEAD_BYTES)):
                raise ImageError("not_an_image", "a video clip: give a frame, VideoInferenceRuntime.frame's")
            data = file.read(Bounds())
        header = read_header(data)
        check_bounds(header, Bounds())
        return decode(data, header, at_least=(header.upright[1], header.upright[0]), how="stretch")
    pixels = image[0] if image.ndim == 4 and len(image) == 1 else image
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ImageError("unsupported_format", f"pixels of {image.shape}, not (height, width, 3) RGB")
    return pixels.astype(np.uint8, copy=False)


def _is_floats(image: Image) -> bool:
    return isinstance(image, np.ndarray) and image.dtype != np.uint8
