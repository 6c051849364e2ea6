"""What readers of clips have in common."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from dropsight.errors import ImageError
from dropsight.images.framing import Pixels
from dropsight.video.wire import ClipHeader

# No playlist, no list of files, no network: a text named x.avi would have other files opened and shown.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,h264,hevc,mpegts,mpeg,mpegvideo,flv,asf"
PROTOCOLS = "file"
# Of what the file says that it has; less may be rounding, or a recorder that was switched off.
MOST_MISSING = 0.05


class DecodedFrame(msgspec.Struct, frozen=True):
    """An upright frame; `index` counts the frames in the order of their times."""

    time: float
    index: int
    pixels: Pixels
    decode_ms: float


class ClipReader(Protocol):
    header: ClipHeader
    frames_read: int

    def frames(self) -> Iterator[DecodedFrame]:
        """Decode what was chosen, in the order of time; raises ImageError."""

    def warnings(self) -> tuple[str, ...]:
        """Say what was wrong with the file, once all frames were read."""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError unless a frame has as many pixels as are allowed."""
    if not (width > 0 and height > 0):
        raise ImageError("unreadable", "its frames have no size")
    if width * height > max_pixels:
        raise ImageError(
            "too_many_pixels", f"{width} x {height} pixels, more than the limit of {max_pixels} pixels"
        )


def check_length(seconds: float, most: float) -> None:
    if seconds > most:
        raise ImageError("too_large", f"{seconds:.0f} s long, more than the limit of {most:.0f} s")


def missing(there: float, claimed: float) -> str | None:
    """Return what to say of a clip that ends before its header says; None for one that does not."""
    if claimed <= 0 or there >= claimed * (1 - MOST_MISSING) - 1:
        return None
    return f"it ends after {there:.1f} of {claimed:.1f} s"
