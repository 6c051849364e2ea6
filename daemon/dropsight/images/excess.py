"""What a PNG holds beside its picture: data that libpng inflates for minutes, names that it logs."""

import contextlib
import struct
import zlib
from collections.abc import Iterator

from dropsight.errors import ImageError

# Some encoders write a little more than there are rows.
MOST_EXCESS_BYTES = 2**24
# Inflating so little takes a second at most.
UNCHECKED_BYTES = 2**18
_ANCILLARY = 0x20
_ONCE = {b"PLTE", b"tRNS"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def check_excess(data: bytes) -> None:
    """Inflate a PNG within its bounds for its length alone, which takes a third of what decoding does.

    Raises ImageError `unreadable`.
    """
    parts = list(_image_data(data))
    if sum(map(len, parts)) <= UNCHECKED_BYTES:
        return
    inflater, left = zlib.decompressobj(), _most_bytes(data)
    with contextlib.suppress(zlib.error):  # the decoder tells of it
        for part in parts:
            rest: bytes | memoryview = part
            while rest:
                left -= len(inflater.decompress(rest, 2**20))
                if left < 0:
                    raise ImageError("unreadable", "a PNG with more data than its picture has")
                rest = inflater.unconsumed_tail


def picture_alone(data: bytes) -> bytes:
    """Return a PNG without what changes no pixel here: profiles, texts, times, an animation's other frames.

    Of each that is odd libpng writes a line to stderr, in some of them what an uploader has put there.
    """
    kept: list[bytes] = []
    seen: set[bytes] = set()
    start, place = 0, 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if kind in seen or (kind[0] & _ANCILLARY and kind not in _ONCE):
            kept.append(data[start:place])
            start = end
        seen |= {kind} & _ONCE
        place = end
    return b"".join([*kept, data[start:]]) if kept else data


def _most_bytes(data: bytes) -> int:
    """All rows, each behind its filter's byte; interlaced, they are up to twice as many, and shorter."""
    width, height, bits, colours = struct.unpack_from(">IIBB", data, 16)
    row: int = width * bits * _CHANNELS.get(colours, 4) // 8 + 4
    most: int = height * row + height + MOST_EXCESS_BYTES
    return most


def _image_data(data: bytes) -> Iterator[memoryview]:
    place, whole = 8, memoryview(data)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IDAT":
            yield whole[place + 8 : place + 8 + length]
        place += 12 + length
