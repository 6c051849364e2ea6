"""JPEGs by libjpeg-turbo, which tells what is wrong with their data; OpenCV does not pass that on."""

import re
from typing import NamedTuple

import numpy as np

from dropsight.errors import ImageError
from dropsight.images.framing import Pixels
from dropsight.images.header import Header

try:
    import simplejpeg
except ImportError:  # 32-bit systems have no wheel of it
    simplejpeg = None

_END = b"\xff\xd9"
# Warnings of libjpeg (jerror.h): of missing or wrong data, and of what it makes up for.
_DAMAGE = ("Corrupt JPEG data: ", "Premature end of JPEG file", "Inconsistent progression sequence")
_HARMLESS = ("Corrupt JPEG data: bad ICC marker", "Unknown Adobe color transform", "Warning: unknown JFIF")
_BEFORE_THE_END = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
# Where data is missing, the decoder leaves this gray.
_GRAY = 128
# What OpenCV makes of it where it is one of four inks.
_GRAY_OF_INKS = 65
# The colours of the blocks above reach a row or two into it.
_MOSTLY = 0.5
# A camera that cuts its pictures cuts a row or two; a few bytes that changed on their way leave few over.
MOST_MISSING = 0.01


class Damage(NamedTuple):
    """`missing` is the share of the picture that is not there, 0 to 1; all where nobody can tell."""

    text: str
    missing: float
    is_cut: bool

    def error(self) -> ImageError:
        if self.is_cut:
            share = f"{self.missing:.0%} of the picture is missing ({self.text})"
            told = share if self.missing < 1.0 else self.text
            return ImageError("truncated", f"the file ends too early: {told}")
        return ImageError("unreadable", f"the JPEG data is damaged: {self.text}")


# Each scan is about all of the picture, if not all of what is known of it.
_LACKS_SCANS = Damage("not all of its scans are there", 1.0, is_cut=True)


class Decoded(NamedTuple):
    pixels: Pixels
    damage: Damage | None = None


def whole(data: bytes, header: Header) -> bytes:
    """Return the picture alone, with an end: without what a camera puts before it, or in place of its end."""
    data = data[header.start :]
    if not header.unended:
        return data
    data = data.rstrip(b"\0")
    return data + (b"\0" if data.endswith(b"\xff") else b"") + _END


def decode(data: bytes, header: Header, scale: int) -> Decoded | None:
    """Decode what `whole` returned at 1/`scale`; None for what only OpenCV decodes, or nobody.

    Raises ImageError where damage leaves no picture at all.
    """
    if not _is_known(data):
        return None
    try:
        pixels = _pixels(data, header, scale, strict=True)
        return Decoded(pixels, _LACKS_SCANS if header.lacks_scans else None)
    except ValueError as error:
        complaint = str(error)
    if not complaint.startswith((*_DAMAGE, *_HARMLESS)):
        return None
    harmless = _is_harmless(complaint, data)
    try:
        pixels = _pixels(data, header, scale, strict=False)
    except ValueError as error:
        if harmless:  # among the segments before the picture, which it is stricter with
            return None
        raise Damage(_plain(str(error)), 1.0, is_cut=header.unended).error() from error
    if harmless:  # and the first, perhaps, of several
        return Decoded(pixels, damage_in_sight(pixels, header, scale))
    return Decoded(pixels, _damage(complaint, pixels, header, scale, len(data)))


def damage_in_sight(pixels: Pixels, header: Header, scale: int) -> Damage | None:
    """Return what is missing of a file that ends too early, where the decoder does not tell."""
    if header.lacks_scans:
        return _LACKS_SCANS
    if not header.unended:
        return None
    share = max(_gray_share(pixels, scale, gray) for gray in (_GRAY, _GRAY_OF_INKS))
    return Damage("premature end of data segment", share, is_cut=True) if share else None


def _is_known(data: bytes) -> bool:
    """Whether simplejpeg has names for what is in it, or complains of it."""
    if simplejpeg is None:
        return False
    try:
        return simplejpeg.decode_jpeg_header(data, strict=False)[2] in {"Gray", "RGB", "YCbCr"}
    except KeyError:
        return False
    except ValueError:  # decoding tells more
        return True


def _pixels(data: bytes, header: Header, scale: int, *, strict: bool) -> Pixels:
    decoded: Pixels = simplejpeg.decode_jpeg(
        data,
        fastdct=False,
        fastupsample=False,
        min_height=-(-header.height // scale),
        min_width=-(-header.width // scale),
        min_factor=scale,
        strict=strict,
    )
    return decoded


def _is_harmless(complaint: str, data: bytes) -> bool:
    if complaint.startswith(_HARMLESS):
        return True
    padding = _BEFORE_THE_END.match(complaint)
    if padding is None:
        return False
    end = data.rfind(_END)
    return not data[max(end - int(padding[1]), 0) : end].strip(b"\0\xff")


def _damage(complaint: str, pixels: Pixels, header: Header, scale: int, size: int) -> Damage:
    """Where data ran out it is only of a file without its end that what comes before the gray is right.

    Changed bytes leave over some of the data, which then is what is missing in the picture.
    """
    if header.lacks_scans:
        return _LACKS_SCANS
    left_over = _BEFORE_THE_END.match(complaint)
    share = 1.0
    if header.unended and not header.whole_bytes:
        share = _gray_share(pixels, scale, _GRAY)
    elif left_over:
        share = int(left_over[1]) / size
    return Damage(_plain(complaint), share, is_cut=header.unended)


def _plain(complaint: str) -> str:
    return complaint.removeprefix("Corrupt JPEG data: ")


def _gray_share(pixels: Pixels, scale: int, level: int) -> float:
    """Follow the gray from the bottom up, in bands of blocks, each from its right end."""
    height, width = pixels.shape[:2]
    missing, bottom, step = 0, height, max(8 // scale, 1)
    while bottom > 0:
        band = pixels[max(bottom - step, 0) : bottom].astype(np.int16)
        gray = np.abs(band - level).max(axis=2) <= 1
        full = np.flatnonzero(gray.mean(axis=0) < _MOSTLY)
        run = width - 1 - int(full[-1]) if len(full) else width
        if run == 0:
            break
        missing += run * min(step, bottom)
        bottom -= step
    share: float = missing / (height * width)
    return share
