"""What the daemon and the process that decodes clips tell each other."""

from typing import TypeAlias

import msgspec

from dropsight.errors import ErrorCode
from dropsight.images.masks import PackedMask
from dropsight.records import Box, Resize
from dropsight.video.sampling import Sampling

MESSAGE_BYTES = 256 * 2**20


class Frames(msgspec.Struct, frozen=True):
    """How frames are wanted: framed to (height, width) as a photo would be, else whole where that is None.

    Framed, each of the `boxes` is, or all where there are none, after the mask was put over it.
    """

    size: tuple[int, int] | None
    resize: Resize
    fraction: float
    boxes: tuple[Box, ...] = ()
    mask: PackedMask | None = None


class ClipOrder(msgspec.Struct, frozen=True):
    """One clip, whose descriptor comes with the message. Seconds are of processor time.

    `at` asks for the frames at these times, ascending, instead of those that `sampling` would choose;
    `thumbnail` is the longer side of each one's small JPEG. Without `frames` there are these alone.
    """

    sampling: Sampling
    frames: Frames | None
    max_pixels: int
    cpu_seconds: float
    whole_only: bool
    at: tuple[float, ...] = ()
    thumbnail: int = 320


class ClipHeader(msgspec.Struct, frozen=True, tag="header"):
    """`duration` is between the first and the end of the last frame that is there, whatever the file says.

    Without timestamps (`timed` false, as of raw H.264) a frame's time is its number by the rate.
    """

    duration: float
    fps: float
    codec: str
    width: int
    height: int
    frames: int
    sampling: str
    timed: bool
    reader: str


class ClipFrame(msgspec.Struct, frozen=True, tag="frame"):
    """`pixels` of (height, width, 3) RGB as bytes; None of a still frame: the one before it is the same.

    Of a framed one, `squares` says how many pictures of each part stand one below the other.
    """

    time: float
    index: int
    height: int
    width: int
    pixels: bytes | None
    thumbnail: bytes
    decode_ms: float
    squares: tuple[int, ...] = ()


class ClipEnd(msgspec.Struct, frozen=True, tag="end"):
    frames_read: int
    warnings: tuple[str, ...]
    last_decode_ms: float = 0.0


class ClipFault(msgspec.Struct, frozen=True, tag="fault"):
    code: ErrorCode
    message: str


Answer: TypeAlias = ClipHeader | ClipFrame | ClipEnd | ClipFault
