"""JPEG 2000 (ITU-T T.800, annexes A and I): its size and whether it is all there, without decoding."""

import struct

from dropsight.errors import ImageError
from dropsight.images.formats import Structure, truncated
from dropsight.images.tiff import Exif

CODESTREAM = b"\xff\x4f\xff\x51"
_START_OF_TILE, _END = b"\xff\x90", b"\xff\xd9"
# Among the color spaces of the box `colr`.
_GRAY = 17
# Measured: a decoder's four bytes a sample, and what becomes of them.
_BYTES_A_SAMPLE, _BYTES_A_PIXEL = 4, 6
# Each component of each costs a decoder a kilobyte, however little is in it.
_MOST_TILES, _MOST_BOXES = 40_000, 1_000


def jpeg2000(data: bytes) -> Structure:
    """Find the size of the picture and follow its tiles to the end."""
    start = 0 if data.startswith(CODESTREAM) else _codestream(data)
    if struct.unpack_from("4s", data, start)[0] != CODESTREAM:
        raise ImageError("unreadable", "a JPEG 2000 file without a picture")
    right, bottom, left, top, across, down = struct.unpack_from(">6I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    tiles = -(-right // max(across, 1)) * -(-bottom // max(down, 1))
    if tiles * components > _MOST_TILES:
        raise ImageError("unreadable", f"a JPEG 2000 picture of {tiles} tiles of {components} components")
    _check_whole(data, start)
    width, height = right - left, bottom - top
    whole_bytes = width * height * (_BYTES_A_SAMPLE * components + _BYTES_A_PIXEL)
    return Structure(width, height, Exif(), whole_bytes=whole_bytes)


def boxed(data: bytes) -> bytes:
    """Put a codestream of one or two components into a file that says it is gray: OpenCV guesses nothing."""
    if not data.startswith(CODESTREAM):
        return data
    right, bottom, left, top = struct.unpack_from(">4I", data, 8)
    components, depth = struct.unpack_from(">HB", data, 40)
    if components > 2:
        return data
    header = _box(b"ihdr", struct.pack(">IIH4B", bottom - top, right - left, components, depth, 7, 0, 0))
    header += _box(b"colr", struct.pack(">3BI", 1, 0, 0, _GRAY))
    brand = _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return brand + _box(b"jp2h", header) + _box(b"jp2c", data)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _codestream(data: bytes) -> int:
    place = 0
    for _ in range(_MOST_BOXES):
        length, kind = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        if kind == b"jp2c":
            return start
        if length < 8:
            break
        place += length
    raise ImageError("unreadable", "a JPEG 2000 file without a picture")


def _check_whole(data: bytes, start: int) -> None:
    """Pass over the main header, then from tile part to tile part."""
    place = start + 2
    for _ in range(_MOST_TILES):
        marker = data[place : place + 2]
        if marker == _END:
            return
        if marker != _START_OF_TILE:
            (length,) = struct.unpack_from(">H", data, place + 2)
            place += 2 + max(length, 2)
            continue
        (length,) = struct.unpack_from(">I", data, place + 6)
        if length == 0:  # it reaches to the end
            if data.rfind(_END) < place:
                raise truncated("before the end of the picture")
            return
        place += max(length, 12)
    raise ImageError("unreadable", "a JPEG 2000 picture of too many parts")
