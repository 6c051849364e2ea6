"""What a PNG holds beside its picture: data that libpng inflates for minutes, names that it logs."""

import contextlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from types import ModuleType

from dropsight.errors import ImageError

fastest: ModuleType = zlib
with contextlib.suppress(ImportError):  # 32-bit systems have no wheel of it
    from isal import isal_zlib

    fastest = isal_zlib

# Some encoders write a little more than there are rows.
MOST_EXCESS_BYTES = 2**24
# Inflating so little takes a second at most.
UNCHECKED_BYTES = 2**18
# A stored block of deflate (RFC 1951, 3.2.4) holds no more.
_BLOCK_BYTES = 2**16 - 1
# At a time, each way; what a call leaves of what goes in is copied for the next.
_IN_BYTES, _OUT_BYTES = 2**16, 2**19
_ZLIB_HEADER = b"\x78\x01"
_LAST_BLOCK = struct.pack("<BHH", 1, 0, 0xFFFF)
_ANCILLARY = 0x20
_ONCE = {b"PLTE", b"tRNS"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def inflated_once(data: bytes, *, room: int) -> bytes | bytearray:
    """Inflate a PNG within its bounds, and store its picture as it is where that fits into `room` bytes.

    The decoder has nothing to inflate then, which is most of its work. What does not fit or is damaged is
    returned as it came. Raises ImageError `unreadable`.
    """
    places = list(_image_data(data))
    if sum(end - place for place, end in places) <= UNCHECKED_BYTES:
        return data
    # What the faster one does not take is not for it to judge: libpng may go on where it has stopped.
    for library in dict.fromkeys((fastest, zlib)):
        with contextlib.suppress(library.error):
            return _stored_whole(data, places, library, room)
    return data  # the decoder tells of it


def _stored_whole(
    data: bytes, places: Sequence[tuple[int, int]], library: ModuleType, room: int
) -> bytes | bytearray:
    # Joined from its pieces, all would be there twice for a moment.
    made = bytearray(data[: places[0][0] - 8])
    _add_chunk(made, _ZLIB_HEADER)
    inflater, adler, fits = library.decompressobj(), 1, True
    for piece in _pieces(data, places, inflater):
        fits = fits and len(made) + len(piece) <= room
        if fits:
            adler = fastest.adler32(piece, adler)
            _add_chunk(made, *_stored(piece))
        else:
            made.clear()
    if not (fits and inflater.eof):
        return data
    _add_chunk(made, _LAST_BLOCK, struct.pack(">I", adler))
    made += data[places[-1][1] + 4 :]
    return made


def picture_alone(data: bytes) -> bytes:
    """Return a PNG without what changes no pixel here: profiles, texts, times, an animation's other frames.

    Of each that is odd libpng writes a line to stderr, in some of them what an uploader has put there.
    """
    kept: list[bytes] = []
    seen: set[bytes] = set()
    start = 8
    for kind, place, end in _chunks(data):
        if kind in seen or (kind[0] & _ANCILLARY and kind not in _ONCE):
            kept.append(data[start : place - 8])
            start = end + 4
        seen |= {kind} & _ONCE
    return b"".join([data[:8], *kept, data[start:]]) if kept else data


def _pieces(data: bytes, places: Sequence[tuple[int, int]], inflater: "zlib._Decompress") -> Iterator[bytes]:
    """Yield what a PNG's picture inflates to, and look at nothing behind its end."""
    whole, left = memoryview(data), _most_bytes(data)
    for place, end in places:
        for start in range(place, end, _IN_BYTES):
            rest: bytes | memoryview = whole[start : min(start + _IN_BYTES, end)]
            while rest and not inflater.eof:
                piece = inflater.decompress(rest, _OUT_BYTES)
                left -= len(piece)
                if left < 0:
                    raise ImageError("unreadable", "a PNG with more data than its picture has")
                yield piece
                rest = inflater.unconsumed_tail


def _most_bytes(data: bytes) -> int:
    """All rows, each behind its filter's byte; interlaced, they are up to twice as many, and shorter."""
    width, height, bits, colours = struct.unpack_from(">IIBB", data, 16)
    row: int = width * bits * _CHANNELS.get(colours, 4) // 8 + 4
    most: int = height * row + height + MOST_EXCESS_BYTES
    return most


def _image_data(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the contents of each of its chunks begin and end."""
    return ((place, end) for kind, place, end in _chunks(data) if kind == b"IDAT")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    place = 16
    while place <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place - 8)
        yield kind, place, min(place + length, len(data))
        place += length + 12


def _stored(piece: bytes) -> Iterator[bytes | memoryview]:
    """Yield blocks that hold it as it is, each behind its length."""
    whole = memoryview(piece)
    for start in range(0, len(piece), _BLOCK_BYTES):
        block = whole[start : start + _BLOCK_BYTES]
        yield struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF)
        yield block


def _add_chunk(made: bytearray, *contents: bytes | memoryview) -> None:
    made += struct.pack(">I", sum(map(len, contents)))
    start = len(made)
    made += b"IDAT"
    for each in contents:
        made += each
    with memoryview(made) as whole:
        check = fastest.crc32(whole[start:])
    made += struct.pack(">I", check)
