"""What a caller of the runtime may give as an image, and as images."""

import errno
import os
from collections.abc import Iterable
from typing import TypeAlias, cast

import numpy as np

from dropsight.errors import ImageError, MachineError
from dropsight.images.framing import Pixels
from dropsight.images.opening import Bounds, open_named
from dropsight.inference.arrays import Array, PillowImage, is_pillow, pixels_of_array, pixels_of_pillow
from dropsight.video.sniffing import HEAD_BYTES, is_clip

Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Array | PillowImage
"""A path, an encoded image, pixels, or Pillow's image: see `ImageInferenceRuntime`."""
Images: TypeAlias = Iterable[Image] | Image

_WANTED = "give a path, the bytes of an encoded image, a NumPy array or a Pillow image"


def contents(image: Image, bounds: Bounds) -> bytes | Pixels:
    """Return what is encoded, or the pixels; raises ImageError, FileNotFoundError, MachineError."""
    if isinstance(image, str | os.PathLike):
        return _read(image, bounds)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if is_pillow(image):
        return pixels_of_pillow(cast("PillowImage", image))
    if hasattr(image, "__array__") or hasattr(image, "__array_interface__"):
        return pixels_of_array(np.asarray(image))
    raise ImageError("not_an_image", f"{_kind(image)} is not an image: {_WANTED}")


def path_of(image: Image) -> str | None:
    return os.fsdecode(image) if isinstance(image, str | os.PathLike) else None


def several(images: Images) -> Iterable[Image]:
    """Return each of many, and a path, an encoded image or a picture alone as one; raises TypeError."""
    if isinstance(images, np.ndarray):
        is_one = images.ndim in {2, 3} and images.dtype.kind not in "OSU"
        return [images] if is_one else images
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or is_pillow(images):
        return [cast("Image", images)]
    if isinstance(images, Iterable):
        return images
    raise TypeError(f"image_paths: {_kind(images)} holds no images: {_WANTED}, or several")


def _read(path: str | os.PathLike[str], bounds: Bounds) -> bytes:
    """Links are followed: whoever names a path here trusts it, other than in a folder that is watched.

    A damaged place of a disk is that file's fault: nobody waits here until it can be read.
    """
    try:
        with open_named(path) as file:
            if is_clip(file.head(HEAD_BYTES)):
                raise ImageError("not_an_image", "a video clip: VideoInferenceRuntime classifies it")
            return file.read(bounds)
    except ValueError as error:  # a null byte, or what the file system cannot spell
        raise ImageError("unreadable", f"not a file name: {error}") from error
    except (MachineError, OSError) as error:
        found = error if isinstance(error, OSError) else error.__cause__
        if isinstance(found, OSError) and found.errno == errno.EIO:
            raise ImageError("unreadable", f"cannot be read: {found.strerror}") from error
        raise


def _kind(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
