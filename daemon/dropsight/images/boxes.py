"""Sizes of pictures in boxes, HEIC, AVIF and JPEG 2000, and of GIF, read without decoding.

Readers raise as those of `formats` do.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from dropsight.errors import ImageError
from dropsight.images.formats import Structure, truncated
from dropsight.images.tiff import Exif, read_exif

_MAX_BOXES = 10_000
# libavif and libheif hold a picture as planes, of 16 bits where it is deep, and as pixels.
_PLANES = 12
_EXIF_BYTES = 2**16

# What turning by quarters to the left, then mirroring (None, top to bottom, left to right), is in EXIF.
_ORIENTATIONS = ((1, 4, 2), (8, 5, 7), (3, 2, 4), (6, 7, 5))


class _Box(NamedTuple):
    kind: bytes
    start: int
    end: int


def heif(data: bytes) -> Structure:
    """ISO/IEC 23008-12: the primary item's `ispe`, `irot` and `imir`; for AVIF as for HEIC."""
    top = list(_boxes(data, 0, len(data)))
    meta = _first(top, b"meta")
    within = list(_boxes(data, meta.start + 4, meta.end))
    properties = list(_boxes(data, *_first(within, b"iprp")[1:]))
    container = list(_boxes(data, *_first(properties, b"ipco")[1:]))
    primary = _primary(data, _first(within, b"pitm"))
    width = height = turns = mirror = 0
    for place in _associated(data, _first(properties, b"ipma"), primary):
        kind, start, _ = container[place - 1]
        if kind == b"ispe":
            width, height = struct.unpack_from(">II", data, start + 4)
        elif kind == b"irot":
            turns = data[start] & 3
        elif kind == b"imir":
            mirror = 1 + (data[start] & 1)
    if top[-1].end > len(data):
        raise truncated(f"{len(data)} of {top[-1].end} bytes")
    exif = Exif(_ORIENTATIONS[turns][mirror], read_exif(_exif(data)).captured)
    # Tiles may be larger than the picture, and all that is in the file may be decoded.
    sizes = [struct.unpack_from(">II", data, box.start + 4) for box in container if box.kind == b"ispe"]
    pixels = max((across * down for across, down in sizes), default=0)
    return Structure(width, height, exif, whole_bytes=_PLANES * max(pixels, width * height))


def jpeg2000(data: bytes) -> Structure:
    """ITU-T T.800: the codestream's SIZ, in a JP2 file or alone."""
    start, end = 0, len(data)
    if not data.startswith(b"\xff\x4f"):
        stream = _first(list(_boxes(data, 0, len(data))), b"jp2c")
        start, end = stream.start, stream.end
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise ImageError("unreadable", "a JPEG 2000 file whose codestream has no size")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    if end > len(data) or data.rfind(b"\xff\xd9", start) < 0:
        raise truncated("before the end of the picture")
    width, height = right - left, bottom - top
    # A component is decoded to four bytes a pixel, whatever its own size is.
    return Structure(width, height, read_exif(None), whole_bytes=(4 * components + 6) * width * height)


def gif(data: bytes) -> Structure:
    """GIF89a: the screen's size, and the blocks up to the end of the first picture."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + _colours(flags)
    for _ in range(_MAX_BOXES):
        if data[place] == 0x2C:
            across, down, flags = struct.unpack_from("<HHB", data, place + 5)
            _end_of_blocks(data, place + 11 + _colours(flags))
            pixels = max(width, across) * max(height, down)
            return Structure(width, height, read_exif(None), whole_bytes=_PLANES * pixels)
        if data[place] != 0x21:
            raise ImageError("unreadable", "a GIF file without a picture")
        place = _end_of_blocks(data, place + 2)
    raise ImageError("unreadable", f"a GIF file with more than {_MAX_BOXES} blocks before its picture")


def _colours(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(data: bytes, place: int) -> int:
    while length := data[place]:
        place += 1 + length
    return place + 1


def _boxes(data: bytes, place: int, end: int) -> Iterator[_Box]:
    """Yield boxes; the last one's end may lie beyond the data, of a file that is cut off."""
    for _ in range(_MAX_BOXES):
        if place + 8 > min(end, len(data)):
            return
        size, kind = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        elif size == 0:
            size = end - place
        if size < start - place:
            raise ImageError("unreadable", "a box that is smaller than its own head")
        place += size
        yield _Box(kind, start, place)
    raise ImageError("unreadable", f"more than {_MAX_BOXES} boxes")


def _first(boxes: list[_Box], kind: bytes) -> _Box:
    found = next((box for box in boxes if box.kind == kind), None)
    if found is None:
        raise truncated(f"it has no {kind.decode()}")
    return found


def _primary(data: bytes, box: _Box) -> int:
    return int(struct.unpack_from(">I" if data[box.start] else ">H", data, box.start + 4)[0])


def _associated(data: bytes, box: _Box, item: int) -> list[int]:
    """Return the numbers of an item's properties, counted from 1; none has the number 0."""
    version, flags = data[box.start], data[box.start + 3]
    (count,) = struct.unpack_from(">I", data, box.start + 4)
    place = box.start + 8
    for _ in range(min(count, _MAX_BOXES)):
        (found,) = struct.unpack_from(">I" if version else ">H", data, place)
        place += 4 if version else 2
        size, kind = (2, ">H") if flags & 1 else (1, ">B")
        numbers = struct.unpack_from(f"{kind[0]}{data[place]}{kind[1]}", data, place + 1)
        if found == item:
            return [number for each in numbers if (number := each & (0x7FFF if flags & 1 else 0x7F))]
        place += 1 + size * data[place]
    return []


def _exif(data: bytes) -> bytes | None:
    """Where its item lies is told by two more boxes; what it begins with stands nowhere else by chance."""
    place = max(data.find(b"Exif\0\0MM\0*"), data.find(b"Exif\0\0II*\0"))
    return data[place + 6 : place + 6 + _EXIF_BYTES] if place >= 0 else None
