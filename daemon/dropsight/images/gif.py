"""The first frame of a GIF (version 89a, appendix A), found without decoding."""

import struct

from dropsight.errors import ImageError
from dropsight.images.formats import Structure
from dropsight.images.tiff import Exif

# Measured: a frame, the canvas it is put on, and both in three colours.
_BYTES_A_PIXEL = 12
# A frame of 64 MB in blocks of 255 bytes, as encoders write, has fewer.
_MOST_BLOCKS = 300_000
_EXTENSION, _FRAME = 0x21, 0x2C


def gif(data: bytes) -> Structure:
    """Find the size of the canvas, and whether the first frame is all there."""
    width, height = struct.unpack_from("<HH", data, 6)
    place, _ = _first_frame(data)
    across, down = struct.unpack_from("<HH", data, place + 5)
    pixels = max(width * height, across * down)
    return Structure(width, height, Exif(), whole_bytes=_BYTES_A_PIXEL * pixels)


def first_frame_alone(data: bytes) -> bytes:
    """Return a GIF of one frame: a decoder walks through all there are."""
    return data[: _first_frame(data)[1]] + b";"


def _first_frame(data: bytes) -> tuple[int, int]:
    """Return where it begins and ends."""
    place, blocks = 13 + _colors(data[10]), 0
    while blocks < _MOST_BLOCKS:
        begins = place
        if data[place] == _EXTENSION:
            place += 2
        elif data[place] == _FRAME:
            place += 11 + _colors(data[place + 9])
        else:
            raise ImageError("unreadable", "a GIF without a picture")
        while length := data[place]:
            place, blocks = place + 1 + length, blocks + 1
            if blocks >= _MOST_BLOCKS:
                break
        else:
            place, blocks = place + 1, blocks + 1
            if data[begins] == _FRAME:
                return begins, place
    raise ImageError("unreadable", f"a GIF whose first frame is in more than {_MOST_BLOCKS} blocks")


def _colors(flags: int) -> int:
    """Return the bytes of a table of colours."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
