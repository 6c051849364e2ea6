"""Reading image file directories (TIFF 6.0), which TIFF files and EXIF blocks (Exif 2.32) both are."""

import contextlib
import struct
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

WIDTH, HEIGHT, ORIENTATION, DATE_TIME, EXIF_FOLDER = 0x100, 0x101, 0x112, 0x132, 0x8769
TILE_WIDTH, TILE_HEIGHT = 0x142, 0x143
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES, DNG_VERSION = 0x111, 0x117, 0x144, 0x145, 0xC612
DATE_TIME_ORIGINAL, OFFSET_TIME_ORIGINAL = 0x9003, 0x9011
PHOTOMETRIC, EXTRA_SAMPLES, SAMPLE_FORMAT, SAMPLE_BITS = 0x106, 0x152, 0x153, 0x102
# Without these there is no picture, and they may stand at the end of the file.
_COLOR_MAP, _JPEG_TABLES = 0x140, 0x15B

_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
# A hostile file may claim thousands of tags with millions of values each. Only these are read, with so many
# values at most: one number, a short text, or the places of the few hundred strips that a real file has.
_MAX_ENTRIES = 1_000
_MOST_VALUES: Mapping[int, int] = {
    **dict.fromkeys((WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT), 1),
    **dict.fromkeys((ORIENTATION, EXIF_FOLDER, DNG_VERSION, PHOTOMETRIC), 1),
    **dict.fromkeys((DATE_TIME, DATE_TIME_ORIGINAL, OFFSET_TIME_ORIGINAL, EXTRA_SAMPLES), 64),
    **dict.fromkeys((SAMPLE_FORMAT, SAMPLE_BITS), 64),
    **dict.fromkeys((_COLOR_MAP, _JPEG_TABLES), 3 * 2**16),
    **dict.fromkeys((STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES), 100_000),
}

Values = tuple[int, ...] | bytes


class Directory(msgspec.Struct, frozen=True):
    """Those tags of one directory that this module has names for."""

    tags: Mapping[int, Values]

    def number(self, tag: int) -> int | None:
        values = self.tags.get(tag)
        return values[0] if isinstance(values, tuple) and values else None

    def numbers(self, tag: int) -> tuple[int, ...]:
        values = self.tags.get(tag)
        return values if isinstance(values, tuple) else ()

    def text(self, tag: int) -> str | None:
        values = self.tags.get(tag)
        return (
            values.split(b"\0")[0].decode("ascii", "replace").strip() if isinstance(values, bytes) else None
        )


class Tiff:
    """A byte string in TIFF structure; raises struct.error where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = {b"II": "<", b"MM": ">"}[data[:2]]

    def first(self) -> Directory:
        return self.directory(self._unpack("I", 4)[0])

    def directory(self, offset: int) -> Directory:
        (count,) = self._unpack("H", offset)
        if count > _MAX_ENTRIES:
            raise struct.error("absurd number of tags")
        tags: dict[int, Values] = {}
        for number in range(count):
            place = offset + 2 + 12 * number
            tag, kind, values = self._unpack("HHI", place)
            # Of a tag that comes twice the first counts, as it does for libtiff, which decodes.
            if tag in _MOST_VALUES and tag not in tags and kind in _TYPES and values:
                tags[tag] = self._values(place + 8, _TYPES[kind], values, most=_MOST_VALUES[tag])
        return Directory(tags)

    def _values(self, place: int, code: str, count: int, *, most: int) -> Values:
        if count * struct.calcsize(f"={code}") > 4:
            (place,) = self._unpack("I", place)
        values = self._unpack(f"{min(count, most)}{code}", place)
        return bytes(values[0]) if code == "s" else tuple(int(value) for value in values)

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + layout, self.data, offset)


class Exif(msgspec.Struct, frozen=True):
    """`orientation` 1..8 as in TIFF 6.0; `captured` in ISO 8601 UTC, None where the camera told no time."""

    orientation: int = 1
    captured: str | None = None


def read_exif(block: bytes | None) -> Exif:
    """Read an EXIF block from its byte-order mark on; nonsense reads as nothing, never as an error."""
    if not block:
        return Exif()
    try:
        tiff = Tiff(block)
        return exif_of(tiff, tiff.first())
    except (KeyError, struct.error):
        return Exif()


def exif_of(tiff: Tiff, main: Directory) -> Exif:
    exif = Directory({})
    if place := main.number(EXIF_FOLDER):
        with contextlib.suppress(struct.error):
            exif = tiff.directory(place)
    orientation = main.number(ORIENTATION) or 1
    taken = exif.text(DATE_TIME_ORIGINAL) or main.text(DATE_TIME)
    captured = moment(taken, exif.text(OFFSET_TIME_ORIGINAL)) if taken else None
    return Exif(orientation if 1 <= orientation <= 8 else 1, captured)


def moment(taken: str, offset: str | None) -> str | None:
    """Cameras without an offset mean the machine's local time."""
    for text, layout in ((f"{taken}{offset}", "%Y:%m:%d %H:%M:%S%z"), (taken, "%Y:%m:%d %H:%M:%S")):
        with contextlib.suppress(ValueError, OverflowError, OSError):
            return datetime.strptime(text, layout).astimezone(UTC).isoformat(timespec="seconds")[:-6] + "Z"
    return None
