"""A picture for people, small enough to be sent about: what dashboards and Home Assistant show."""

import cv2

from dropsight.errors import ImageError
from dropsight.images.decoding import Wanted
from dropsight.images.framing import Pixels, resize
from dropsight.images.header import check_bounds, read_header
from dropsight.images.large import decode_where_it_fits
from dropsight.images.opening import Bounds, ImageFile, open_image

JPEG_QUALITY = 80


def thumbnail(path: str, bounds: Bounds, *, longest: int) -> bytes:
    """Return a JPEG of an image file, upright, its longer side at most `longest` pixels.

    Raises ImageError for what is no picture, FileNotFoundError.
    """
    with open_image(path) as file:
        return thumbnail_of(file, bounds, longest=longest)


def thumbnail_of(file: ImageFile, bounds: Bounds, *, longest: int) -> bytes:
    """As `thumbnail`, of a file that is open already."""
    return thumbnail_of_data(file.read(bounds), bounds, longest=longest)


def thumbnail_of_data(data: bytes, bounds: Bounds, *, longest: int) -> bytes:
    """As `thumbnail`, of what is read already."""
    header = read_header(data)
    check_bounds(header, bounds)
    height, width = _fitting(header.upright[1], header.upright[0], longest)
    found = decode_where_it_fits(data, header, Wanted((height, width), "stretch"), depth=bounds.depth)
    return as_jpeg(found.pixels, longest=longest)


def as_jpeg(pixels: Pixels, *, longest: int) -> bytes:
    """Encode (height, width, 3) RGB pixels, shrunk to `longest` where they are larger."""
    bgr = cv2.cvtColor(shrink(pixels, longest=longest), cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ImageError("unreadable", "its thumbnail cannot be encoded")
    return encoded.tobytes()


def shrink(pixels: Pixels, *, longest: int) -> Pixels:
    """Return the pixels with their longer side at most `longest`."""
    height, width = _fitting(pixels.shape[0], pixels.shape[1], longest)
    return resize(pixels, height=height, width=width)


def _fitting(height: int, width: int, longest: int) -> tuple[int, int]:
    scale = min(longest / max(height, width), 1.0)
    return max(round(height * scale), 1), max(round(width * scale), 1)
