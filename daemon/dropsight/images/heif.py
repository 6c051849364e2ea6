"""HEIF, the family of HEIC and AVIF (ISO/IEC 23008-12): what the picture is, by its boxes."""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from dropsight.errors import ImageError
from dropsight.images.av1 import Coded, coded
from dropsight.images.formats import Structure, truncated
from dropsight.images.tiff import Exif, read_exif

Codec: TypeAlias = Literal["heic", "avif"]

_CODECS: Mapping[bytes, Codec] = {b"hvc1": "heic", b"hev1": "heic", b"av01": "avif"}
# A phone's picture has about a hundred: its tiles, a thumbnail, a map of depth.
_MOST = 5_000
# Measured: what the decoders hold of a pixel.
_BYTES_A_PIXEL: Mapping[Codec, int] = {"heic": 6, "avif": 18}
_EXIF_BYTES = 2**16
# Of all data together: a picture of so many tiles has no more.
_MOST_UNITS = 20_000
# A picture, its alpha, its map of depth or gain, and tiles that reach beyond its edges.
_MOST_TIMES = 8
# Turns against the clock, then whether mirrored left to right before them: EXIF's number for it.
_ORIENTATIONS = {
    (0, False): 1,
    (1, False): 8,
    (2, False): 3,
    (3, False): 6,
    (0, True): 2,
    (1, True): 5,
    (2, True): 4,
    (3, True): 7,
}


class _Box(NamedTuple):
    kind: bytes
    start: int
    end: int


class _Item(NamedTuple):
    """`extents` are (place, length) in the file."""

    kind: bytes
    extents: Sequence[tuple[int, int]]


def heif(data: bytes, codec: Codec) -> Structure:
    """Find the size of the primary picture, how it is turned, and whether all of it is there."""
    meta = next((box for box in _boxes(data, 0, len(data)) if box.kind == b"meta"), None)
    if meta is None:
        raise truncated("before it tells of a picture")
    parts = {box.kind: box for box in _boxes(data, meta.start + 4, meta.end)}
    try:
        items = _items(data, parts[b"iinf"], parts[b"iloc"], parts.get(b"idat"))
        primary = _number(data, parts[b"pitm"])
        own = _properties_of(data, parts[b"iprp"], primary)
        grid = _grid_size(data, items[primary])
        sizes = [_size(data, box) for box in _properties(data, parts[b"iprp"]) if box.kind == b"ispe"]
    except KeyError as error:
        raise ImageError("unreadable", "a HEIF file without a picture") from error
    _check_whole(data, items.values())
    _check_codec(items.values(), codec)
    width, height = next((_size(data, box) for box in own if box.kind == b"ispe"), (0, 0))
    pixels = max(across * down for across, down in (*sizes, grid))
    pixels = _with_coded(data, items.values(), pixels)
    exif = Exif(_orientation(data, own), _exif(data, items.values()).captured)
    return Structure(width, height, exif, whole_bytes=_BYTES_A_PIXEL[codec] * pixels)


def longest_piece(data: bytes) -> int:
    """Return of how many bytes the longest of the coded pictures in a HEIC is, a tile or a whole picture."""
    meta = next(box for box in _boxes(data, 0, len(data)) if box.kind == b"meta")
    parts = {box.kind: box for box in _boxes(data, meta.start + 4, meta.end)}
    items = _items(data, parts[b"iinf"], parts[b"iloc"], parts.get(b"idat")).values()
    return max(
        sum(length for _, length in item.extents) for item in items if _CODECS.get(item.kind) == "heic"
    )


def _boxes(data: bytes, place: int, end: int) -> Iterator[_Box]:
    for _ in range(_MOST):
        if place + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        last = place + length if length else end
        if last > end:
            raise truncated(f"{end} of {last} bytes")
        if last < start:
            raise ImageError("unreadable", "a box that is smaller than its header")
        yield _Box(kind, start, last)
        place = last
    raise ImageError("unreadable", f"a HEIF file of more than {_MOST} boxes in a row")


def _number(data: bytes, box: _Box) -> int:
    number: int = struct.unpack_from(">I" if data[box.start] else ">H", data, box.start + 4)[0]
    return number


def _items(data: bytes, iinf: _Box, iloc: _Box, idat: _Box | None) -> dict[int, _Item]:
    kinds = {}
    for box in _boxes(data, iinf.start + (8 if data[iinf.start] else 6), iinf.end):
        if box.kind == b"infe" and data[box.start] >= 2:
            wide = data[box.start] > 2
            number, _, kind = struct.unpack_from(">IH4s" if wide else ">HH4s", data, box.start + 4)
            kinds[number] = kind
    places = dict(_locations(_Reader(data, iloc.start), idat.start if idat else 0))
    return {number: _Item(kind, places.get(number, ())) for number, kind in kinds.items()}


class _Reader:
    """Big-endian numbers of so many bytes, one after the other; raises IndexError at the end."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place

    def take(self, count: int) -> int:
        if self.place + count > len(self.data):
            raise IndexError
        self.place += count
        return int.from_bytes(self.data[self.place - count : self.place])


def _locations(read: _Reader, idat: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Read an iloc box: where the items are."""
    version, _ = read.take(1), read.take(3)
    sizes = [*divmod(read.take(1), 16), *divmod(read.take(1), 16)]
    offset_bytes, length_bytes, base_bytes, index_bytes = sizes
    left = _MOST
    for _ in range(min(read.take(4 if version > 1 else 2), _MOST)):
        number = read.take(4 if version > 1 else 2)
        inside = version > 0 and read.take(2) & 0xF == 1
        read.take(2)
        base = read.take(base_bytes) + (idat if inside else 0)
        extents = []
        for _ in range(read.take(2)):
            read.take(index_bytes if version > 0 else 0)
            extents.append((base + read.take(offset_bytes), read.take(length_bytes)))
            left -= 1
            if left < 0:
                raise ImageError("unreadable", f"a HEIF file of more than {_MOST} pieces")
        yield number, extents


def _properties(data: bytes, iprp: _Box) -> list[_Box]:
    for box in _boxes(data, iprp.start, iprp.end):
        if box.kind == b"ipco":
            return list(_boxes(data, box.start, box.end))
    return []


def _properties_of(data: bytes, iprp: _Box, wanted: int) -> list[_Box]:
    """Return an item's properties, in the order in which they apply."""
    known, left = _properties(data, iprp), _MOST
    for box in _boxes(data, iprp.start, iprp.end):
        if box.kind != b"ipma":
            continue
        read = _Reader(data, box.start)
        version, flags = read.take(1), read.take(3)
        each = 2 if flags & 1 else 1
        for _ in range(read.take(4)):
            left -= 1
            if left < 0:
                raise ImageError("unreadable", f"a HEIF file of more than {_MOST} pieces")
            number = read.take(4 if version else 2)
            found = [read.take(each) & (2 ** (8 * each - 1) - 1) for _ in range(read.take(1))]
            if number == wanted:
                return [known[index - 1] for index in found if 0 < index <= len(known)]
    return []


def _check_whole(data: bytes, items: Collection[_Item]) -> None:
    end = max((place + length for item in items for place, length in item.extents), default=0)
    if end > len(data):
        raise truncated(f"{len(data)} of {end} bytes")
    if sum(length for item in items for _, length in item.extents) > 2 * len(data):
        raise ImageError("unreadable", "a HEIF file whose pieces are larger than itself")


def _check_codec(items: Iterable[_Item], wanted: Codec) -> None:
    found = {_CODECS[item.kind] for item in items if item.kind in _CODECS}
    if wanted not in found:
        raise ImageError("unsupported_format", f"a HEIF file without a picture that is {wanted.upper()}")


def _size(data: bytes, ispe: _Box) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, ispe.start + 4)
    return width, height


def _grid_size(data: bytes, item: _Item) -> tuple[int, int]:
    """A picture of tiles says for itself how large it becomes."""
    if item.kind != b"grid" or not item.extents:
        return 0, 0
    place, _ = item.extents[0]
    width, height = struct.unpack_from(">II" if data[place + 1] & 1 else ">HH", data, place + 4)
    return width, height


def _with_coded(data: bytes, items: Iterable[_Item], pixels: int) -> int:
    """Return the pixels of the largest picture: of AVIF a decoder takes the size from the data.

    It decodes all that is there, too. libheif compares the sizes in HEIC before it decodes.
    """
    units = decoded = 0
    for item in items:
        if item.kind == b"av01":
            found = _coded(data, item)
            units, decoded = units + found.units, decoded + found.pixels * found.frames
            pixels = max(pixels, found.pixels)
            if units > _MOST_UNITS:
                raise ImageError("unreadable", f"an AVIF picture of more than {_MOST_UNITS} units")
    if decoded > _MOST_TIMES * pixels:
        raise ImageError("unreadable", "an AVIF picture of which far more is coded than is shown")
    return pixels


def _coded(data: bytes, item: _Item) -> Coded:
    return coded(b"".join(data[place : place + length] for place, length in item.extents))


def _orientation(data: bytes, properties: Iterable[_Box]) -> int:
    turns, mirrored = 0, False
    for box in properties:
        if box.kind == b"irot":
            turns = (turns + data[box.start]) % 4
        elif box.kind == b"imir":
            turns = (2 * (~data[box.start] & 1) - turns) % 4  # axis 1 is left to right
            mirrored = not mirrored
    return _ORIENTATIONS[turns, mirrored]


def _exif(data: bytes, items: Iterable[_Item]) -> Exif:
    for item in items:
        if item.kind == b"Exif" and item.extents:
            place, length = item.extents[0]
            block = data[place : place + min(length, _EXIF_BYTES)]
            before = 4 + int.from_bytes(block[:4])
            return read_exif(block[before:] if block[before : before + 2] in (b"II", b"MM") else None)
    return Exif()
