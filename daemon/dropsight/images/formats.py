"""Size, EXIF block and completeness of each format, read from its structure without decoding.

Every reader raises struct.error or IndexError where the data ends too early, and ImageError
`truncated` where it can tell that the end of the picture is missing.
"""

import re
import struct

import msgspec

from dropsight.errors import ImageError
from dropsight.images.tiff import (
    DNG_VERSION,
    EXTRA_SAMPLES,
    HEIGHT,
    PHOTOMETRIC,
    SAMPLE_BITS,
    SAMPLE_FORMAT,
    STRIP_BYTES,
    STRIP_OFFSETS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    WIDTH,
    Exif,
    Tiff,
    exif_of,
    read_exif,
)


class Structure(msgspec.Struct, frozen=True):
    """Width and height as stored; `whole_bytes` is what a decoder holds of it at once, at least."""

    width: int
    height: int
    exif: Exif
    straight_alpha: bool = False
    whole_bytes: int = 0
    unended: bool = False
    lacks_scans: bool = False
    deep: bool = False


# Measured: OpenCV has a decoded picture of three bytes a pixel twice, of four three times in a TIFF; an
# animated PNG's canvas beside it.
_DECODED, _WITH_ALPHA, _CANVAS = 6, 12, 4
# A picture of 16 bits takes twice as much.
_DEEP = 2
# A real file has a few dozen segments before its first scan, an ICC profile of 16 MB included 256.
_MAX_SEGMENTS = 10_000
# Encoders write about ten; each costs a pass over all coefficients, however empty it is.
_MAX_SCANS = 64
# Bytes of coefficients that all scans together may pass over, where they are more than encoders write.
_MAX_PASSED_BYTES = 4 * 2**30
_USUAL_SCANS = 14
# A PNG of 64 MB in the usual chunks of 8 kB has as many.
_MAX_CHUNKS = 20_000
# Photo editors write a few; libpng inflates each to up to 8 MB, wanted or not.
_MAX_TEXTS = 32


def truncated(what: str) -> ImageError:
    return ImageError("truncated", f"the file ends too early: {what}")


_END = b"\xff\xd9"
_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Fill bytes and what stands alone, without a length after it.
_NO_SEGMENT = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD9)})
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A bit for each coefficient of a block.
_ALL_COEFFICIENTS = 2**64 - 1


def jpeg(data: bytes) -> Structure:
    """ITU-T T.81, annex B: walk the segments up to the first scan; what is in it, decoding tells."""
    width = height = frame = 0
    exif = None
    place = 2
    for _ in range(_MAX_SEGMENTS):
        here = data[place : place + 2]
        if not here[1:] or here[0] != 0xFF or here[1] in _NO_SEGMENT:
            place = _next_marker(data, place)
        marker = data[place + 1]
        if marker in (_SOS, _EOI):
            break
        length = data[place + 2] << 8 | data[place + 3]
        if marker in _START_OF_FRAME:
            frame = place
            height, width = struct.unpack_from(">HH", data, place + 5)
        elif marker == _APP1 and exif is None and data[place + 4 : place + 10] == b"Exif\0\0":
            exif = data[place + 10 : place + 2 + length]
        place += 2 + length
    else:
        raise ImageError("unreadable", "no scan within ten thousand segments")
    if marker == _EOI:
        raise truncated("before its first scan")
    whole_bytes = _coefficients(data, frame, scan=place)
    if whole_bytes:
        unended, lacks_scans = _walk_scans(data, place, frame=frame, whole_bytes=whole_bytes)
    else:
        # Thumbnails have ends, too, but stand before the scan; inside it 0xFF is always followed by 0 or a
        # restart number. What comes after the end (a second picture, a video) is not ours to judge.
        unended, lacks_scans = data.rfind(_END, place) < 0, False
    return Structure(
        width,
        height,
        exif=read_exif(exif),
        whole_bytes=whole_bytes,
        unended=unended,
        lacks_scans=lacks_scans,
    )


_MARKER = re.compile(b"\xff[^%b]" % re.escape(bytes(_NO_SEGMENT)), re.DOTALL)


def _next_marker(data: bytes, place: int) -> int:
    """Find the next segment, or an end, past fill bytes and litter."""
    found = _MARKER.search(data, place)
    if found is None:
        raise truncated("before the end of the picture")
    return found.start()


def _walk_scans(data: bytes, place: int, *, frame: int, whole_bytes: int) -> tuple[bool, bool]:
    """Walk from the first scan to the end of the picture.

    Return whether the end is missing, and whether, with it, scans without which the picture is not complete.
    """
    most = max(min(_MAX_SCANS, _MAX_PASSED_BYTES // whole_bytes), _USUAL_SCANS)
    lacking = dict.fromkeys(data[frame + 10 : frame + 10 + 3 * data[frame + 9] : 3], _ALL_COEFFICIENTS)
    scans = 0
    for _ in range(_MAX_SEGMENTS):
        if data[place + 1] == _EOI:
            return False, False
        if data[place + 1] == _SOS:
            _take_off(lacking, data, place)
            scans += 1
        if scans > most:
            break
        length = int.from_bytes(data[place + 2 : place + 4])
        found = _MARKER.search(data, place + 2 + length)
        if found is None:
            return True, any(lacking.values())
        place = found.start()
    raise ImageError("unreadable", f"a JPEG of this size and more than {most} scans")


def _take_off(lacking: dict[int, int], data: bytes, scan: int) -> None:
    """Take off the coefficients that a scan completes, to their last bit, of its components; T.81, B.2.3."""
    count = data[scan + 4]
    first, last, bits = struct.unpack_from("3B", data, scan + 5 + 2 * count)
    if bits & 0xF == 0:
        for component in data[scan + 5 : scan + 5 + 2 * count : 2]:
            lacking[component] = lacking.get(component, 0) & ~(2 ** (last + 1) - 2**first)


def _coefficients(data: bytes, frame: int, *, scan: int) -> int:
    """Bytes of all coefficients, where no picture comes out before all scans are in; T.81, B.2.2 and G."""
    if not frame or data[scan + 1] != _SOS:
        return 0
    height, width, components = struct.unpack_from(">HHB", data, frame + 5)
    if data[frame + 1] not in _PROGRESSIVE and data[scan + 4] >= components:
        return 0
    factors = [divmod(data[frame + 11 + 3 * number], 16) for number in range(components)]
    largest = max((across for across, _ in factors), default=1) * max(
        (down for _, down in factors), default=1
    )
    samples = sum(across * down for across, down in factors) / max(largest, 1)
    return int(2 * samples * width * height)


def png(data: bytes) -> Structure:
    """PNG specification, 5.3: walk the chunks to IEND."""
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    deep = bits == 16
    exif, place, a_pixel, texts = None, 8, _DECODED, 0
    for _ in range(_MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, place)
        if place + 12 + length > len(data):
            raise truncated("inside a chunk")
        if kind == b"eXIf":
            exif = data[place + 8 : place + 8 + length]
        elif kind == b"acTL":
            a_pixel = _DECODED + _CANVAS
        elif kind in _TEXTS:
            texts += 1
        elif kind == b"IEND":
            _check_texts(texts)
            whole_bytes = a_pixel * width * height * (_DEEP if deep else 1)
            return Structure(width, height, read_exif(exif), whole_bytes=whole_bytes, deep=deep)
        place += 12 + length
    raise ImageError("unreadable", f"a PNG of more than {_MAX_CHUNKS} chunks")


_TEXTS = frozenset({b"zTXt", b"iTXt"})


def _check_texts(count: int) -> None:
    if count > _MAX_TEXTS:
        raise ImageError("unreadable", f"a PNG of more than {_MAX_TEXTS} texts")


def webp(data: bytes) -> Structure:
    """RFC 9649."""
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise truncated(f"{len(data)} of {size + 8} bytes")
    kind, a_pixel = data[12:16], _DECODED
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        a_pixel += _CANVAS if data[20] & _ANIMATED else 0
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    else:
        raise ImageError("unreadable", "a WebP file without a picture")
    return Structure(width, height, read_exif(_webp_exif(data)), whole_bytes=a_pixel * width * height)


_ANIMATED = 0x02


def _webp_exif(data: bytes) -> bytes | None:
    place = 12
    for _ in range(_MAX_CHUNKS):
        if place + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind == b"EXIF":
            return data[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0")
        place += 8 + length + length % 2
    return None


def bmp(data: bytes) -> Structure:
    """BITMAPFILEHEADER and what follows; OS/2's older header as well."""
    offset, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = stored = 0
    else:
        width, height, _, bits, compression, stored = struct.unpack_from("<iiHHII", data, 18)
    plain = compression in (0, 3, 6)
    needed = (abs(width) * bits + 31) // 32 * 4 * abs(height) if plain else stored
    if offset + needed > len(data):
        raise truncated(f"{len(data)} of {offset + needed} bytes")
    whole_bytes = _DECODED * abs(width) * abs(height)
    return Structure(abs(width), abs(height), Exif(), whole_bytes=whole_bytes)


def tiff(data: bytes) -> Structure:
    """TIFF 6.0: the first directory, and whether all its strips or tiles are there."""
    file = Tiff(data)
    first = file.first()
    if first.number(DNG_VERSION) is not None or data[8:10] == b"CR":
        raise ImageError("unsupported_format", "a camera raw file; have the camera write JPEG")
    if 3 in first.numbers(SAMPLE_FORMAT):
        raise ImageError("unsupported_format", "a TIFF of floating-point pixels; save it with 8 or 16 bits")
    offsets = first.numbers(STRIP_OFFSETS) or first.numbers(TILE_OFFSETS)
    sizes = first.numbers(STRIP_BYTES) or first.numbers(TILE_BYTES)
    end = max((offset + size for offset, size in zip(offsets, sizes, strict=False)), default=0)
    if end > len(data):
        raise truncated(f"{len(data)} of {end} bytes")
    width, height = first.number(WIDTH) or 0, first.number(HEIGHT) or 0
    deep = 16 in first.numbers(SAMPLE_BITS)
    # A decoder takes its tiles whole, however little of them is in the picture.
    pixels = max(width * height, (first.number(TILE_WIDTH) or 0) * (first.number(TILE_HEIGHT) or 0))
    straight_alpha = first.number(PHOTOMETRIC) == 2 and 2 in first.numbers(EXTRA_SAMPLES)
    if straight_alpha and first.numbers(SAMPLE_BITS) not in {(8,) * 4, (16,) * 4}:
        raise ImageError("unsupported_format", "a TIFF with alpha that has not four samples of 8 or 16 bits")
    return Structure(
        width,
        height,
        exif=exif_of(file, first),
        straight_alpha=straight_alpha,
        whole_bytes=pixels * (_WITH_ALPHA if straight_alpha else _DECODED) * (_DEEP if deep else 1),
        deep=deep,
    )
