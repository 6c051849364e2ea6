"""From the file's bytes to upright RGB pixels, no larger than needed."""

import contextlib
import threading
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from dropsight.errors import ImageError, MemoryShortError
from dropsight.images import jpeg
from dropsight.images.apart import decode_apart
from dropsight.images.excess import inflated_once, picture_alone
from dropsight.images.formats import truncated
from dropsight.images.framing import CROP_FRACTION, Pixels, Place, place_of, used_size
from dropsight.images.gif import first_frame_alone
from dropsight.images.header import Header
from dropsight.images.jpeg import Decoded
from dropsight.records import Box, Depth, Resize

# Damaged files are our business to report, in our words. OpenCV 5 has moved the call from where 4 had it.
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
_set_log_level(0)

_PLAIN = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
# From OpenCV 4.11 on, JPEGs come out of the decoder in this order of colours, without a pass of their own.
_AS_RGB: int = getattr(cv2, "IMREAD_COLOR_RGB", 0)
_JPEG = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# OpenCV turns these by itself, whatever the flags say.
_TURNED = frozenset({"tiff"})
# Not every OpenCV has these.
_OPTIONAL = {"gif": ".gif", "jp2": ".jp2", "avif": ".avif"}
_NO_MEMORY = -4  # cv::Error::StsNoMem
# Several threads decode; large pictures one at a time, so that memory has a bound.
LARGE_BYTES = 2**25
# A JPEG is there twice where it is turned upright, or where OpenCV decodes it.
_TWICE = 2
# Of a ribbon that is as narrow as a model's picture, more would be held than of any camera's.
MOST_PIXELS = 2**24
_one_large = threading.Lock()
# Of a decoded picture, these rows at a time are made what is wanted; each scale divides it.
_ROWS = 64
MOST_SCALE = 8
_ANY_PLACE = contextlib.nullcontext()
# What turns a picture stored with each EXIF orientation upright: transpose first, then flip.
_TRANSPOSED = frozenset({5, 6, 7, 8})
# The hundredths of a picture are told by one pixel of so many each way.
_EVERY = 4
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}


class Wanted(NamedTuple):
    """What becomes of a picture: framed to `at_least` (height, width), or each of its parts, `boxes`."""

    at_least: tuple[int, int]
    how: Resize
    crop_fraction: float = CROP_FRACTION
    boxes: tuple[Box, ...] = ()


def decode(
    data: bytes,
    header: Header,
    *,
    at_least: tuple[int, int],
    how: Resize,
    crop_fraction: float = CROP_FRACTION,
    depth: Depth = "scale",
) -> Pixels:
    """Decode a picture whose framing to `at_least` (height, width) will not have to enlarge it.

    Raises ImageError `unreadable` for what makes no picture at all, whatever is missing, and MachineError.
    """
    scale = scale_for(header, Wanted(at_least, how, crop_fraction))
    return decode_and_judge(data, header, scale=scale, depth=depth).pixels


def scale_for(header: Header, wanted: Wanted, *, most_pixels: int | None = None) -> int:
    """Return by which of 1, 2, 4 and 8 a picture may be made small, so that nothing of it has to be enlarged.

    Where parts of it are framed it is the smallest of them that counts. Beyond `most_pixels` it is made
    smaller all the same.
    """
    scale = _reduction(*header.upright, wanted.at_least, wanted.how, wanted.crop_fraction, wanted.boxes)
    while most_pixels and scale < MOST_SCALE and header.width * header.height > most_pixels * scale**2:
        scale *= 2
    return scale


def bytes_of(header: Header, scale: int) -> int:
    """Return what decoding it at 1/`scale` takes at once."""
    if header.format != "jpeg":
        return header.whole_bytes
    return header.whole_bytes + _TWICE * 3 * -(-header.width // scale) * -(-header.height // scale)


def is_large(header: Header, scale: int) -> bool:
    """Whether it is decoded only while no other large one is; some have a process, however small they are."""
    return header.format in {"heic", "jp2"} or bytes_of(header, scale) > LARGE_BYTES


def decode_and_judge(data: bytes, header: Header, *, scale: int, depth: Depth = "scale") -> Decoded:
    """Decode, upright, at 1/`scale` what is a JPEG, HEIC, JPEG 2000 or large; the damage of JPEGs is told.

    Alpha is dropped; `depth` says how 16 bits a channel become 8. Raises ImageError `unreadable` for what
    makes no picture at all, and MachineError.
    """
    large = is_large(header, scale)
    with _one_large if large else _ANY_PLACE:
        if header.format == "jpeg":
            return _decode_jpeg(data, header, scale)
        _check_support(header)
        if header.format in {"heic", "jp2"}:
            count = header.width * header.height
            return Decoded(decode_apart(data, header.format, pixels=count, scale=scale))
        flags = _PLAIN
        if header.straight_alpha:
            flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        elif header.deep and depth == "percentile":
            flags |= cv2.IMREAD_ANYDEPTH
        return Decoded(_decode(_picture(data, header), header, flags, scale if large else 1))


def _decode_jpeg(data: bytes, header: Header, scale: int) -> Decoded:
    data = jpeg.whole(data, header)
    decoded = jpeg.decode(data, header, scale)
    if decoded and header.orientation == 1:
        return decoded
    if decoded:
        return Decoded(upright(decoded.pixels, header.orientation), decoded.damage)
    flags = _JPEG[scale] | cv2.IMREAD_IGNORE_ORIENTATION
    if _AS_RGB:
        pixels = _read(data, header, flags & ~cv2.IMREAD_COLOR | _AS_RGB).astype(np.uint8, copy=False)
    else:
        pixels = _rgb(_read(data, header, flags))
    damage = jpeg.damage_in_sight(pixels, header, scale)
    return Decoded(upright(pixels, header.orientation), damage)


def _picture(data: bytes, header: Header) -> bytes | bytearray:
    if header.format == "png":
        return inflated_once(picture_alone(data), room=LARGE_BYTES - header.whole_bytes)
    return first_frame_alone(data) if header.format == "gif" else data


def _check_support(header: Header) -> None:
    suffix = _OPTIONAL.get(header.format)
    if suffix and not cv2.haveImageWriter(f"x{suffix}"):
        raise ImageError("unsupported_format", f"this OpenCV ({cv2.__version__}) cannot decode {suffix[1:]}")


def _decode(data: bytes | bytearray, header: Header, flags: int, scale: int) -> Pixels:
    pixels = _rgb(_read(data, header, flags), scale)
    return pixels if header.format in _TURNED else upright(pixels, header.orientation)


def _read(data: bytes | bytearray, header: Header, flags: int) -> cv2.typing.MatLike:
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == _NO_MEMORY:
            raise MemoryShortError("not enough memory to decode an image: images wait") from error
        raise ImageError("unreadable", f"the {header.format} data is damaged: {error.err}") from error
    if decoded is None:
        _check_memory(header)
        if header.unended:
            raise truncated("too little of the picture is there")
        raise ImageError("unreadable", f"the {header.format} data is damaged")
    return decoded


def _check_memory(header: Header) -> None:
    """Raise MachineError where what decoding takes is not to be had: some decoders call that damaged, too."""
    try:
        np.empty(header.whole_bytes, np.uint8)
    except MemoryError as error:
        raise MemoryShortError("not enough memory to decode an image: images wait") from error


def _rgb(decoded: cv2.typing.MatLike, scale: int = 1) -> Pixels:
    """Return the means of `scale` x `scale` pixels. Done whole, each step would take as much memory again."""
    height, width, channels = decoded.shape
    levels = _levels(decoded) if decoded.dtype == np.uint16 and channels == 3 else None
    made = np.empty((-(-height // scale), -(-width // scale), 3), np.uint8)
    for top in range(0, height, _ROWS):
        part, into = decoded[top : top + _ROWS], made[top // scale : (top + _ROWS) // scale]
        if levels is not None:
            part = levels[part]
        if channels == 4:
            part = _without_alpha(part)
        if scale == 1:
            cv2.cvtColor(part, cv2.COLOR_BGR2RGB, dst=into)
        else:
            size = into.shape[1::-1]
            cv2.resize(cv2.cvtColor(part, cv2.COLOR_BGR2RGB), size, dst=into, interpolation=cv2.INTER_AREA)
    return made


def _levels(decoded: cv2.typing.MatLike) -> Pixels:
    """Return what 8 bits each of 16 becomes, between the darkest and the brightest hundredth of a picture."""
    low, high = np.percentile(decoded[::_EVERY, ::_EVERY], (1, 99))
    levels = (np.arange(2**16) - low) * (255 / max(high - low, 1))
    table: Pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return table


def _without_alpha(decoded: cv2.typing.MatLike) -> Pixels:
    """Take the colours of a TIFF with straight alpha: of 8 bits, OpenCV has multiplied them by it."""
    colours, alpha = decoded[:, :, :3], decoded[:, :, 3:]
    if decoded.dtype == np.uint16:
        return (colours // 257).astype(np.uint8)
    return np.minimum(np.rint(colours * (255.0 / np.maximum(alpha, 1))), 255).astype(np.uint8)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn pixels stored with this EXIF orientation as a person sees them."""
    into = None
    if orientation in _TRANSPOSED:
        pixels = into = cv2.transpose(pixels).astype(np.uint8, copy=False)  # ours, to be turned in place
    if orientation in _FLIPS:
        pixels = cv2.flip(pixels, _FLIPS[orientation], dst=into).astype(np.uint8, copy=False)
    return pixels


@lru_cache(maxsize=64)  # a camera's pictures have one size
def _reduction(
    width: int,
    height: int,
    at_least: tuple[int, int],
    how: Resize,
    fraction: float,
    boxes: tuple[Box, ...] = (),
) -> int:
    if boxes:
        sizes = [_size(place_of(box, width, height)) for box in boxes]
        return min(_reduction(*size, at_least, how, 1.0) for size in sizes)
    used_width, used_height = used_size(width, height, to=at_least, how=how, fraction=fraction)
    if how == "letterbox":
        fits = max(used_width / at_least[1], used_height / at_least[0])
    else:
        fits = min(used_width / at_least[1], used_height / at_least[0])
    return next((scale for scale in (8, 4, 2) if fits >= scale), 1)


def _size(place: Place) -> tuple[int, int]:
    rows, columns = place
    return columns.stop - columns.start, rows.stop - rows.start
