"""What a file is, how large, and whether it is all there, before a single pixel is decoded."""

import struct
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import msgspec

from dropsight.errors import ImageError
from dropsight.images import formats
from dropsight.images.formats import Structure, truncated
from dropsight.images.gif import gif
from dropsight.images.heif import heif
from dropsight.images.jpeg2000 import jpeg2000
from dropsight.images.opening import Bounds

# What cannot be decoded small may have this many bytes for each pixel of the limit: half as many pixels.
WHOLE_BYTES_A_PIXEL = 3
# Libpng takes no more, and writes a line to stderr; OpenCV hardly any more.
LONGEST_SIDE = 1_000_000

Format: TypeAlias = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "jp2", "avif", "heic"]

_READERS: dict[Format, Callable[[bytes], Structure]] = {
    "jpeg": formats.jpeg,
    "png": formats.png,
    "webp": formats.webp,
    "bmp": formats.bmp,
    "tiff": formats.tiff,
    "gif": gif,
    "jp2": jpeg2000,
    "avif": partial(heif, codec="avif"),
    "heic": partial(heif, codec="heic"),
}
_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"GIF8", "gif"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
)
_JPEG_START = b"\xff\xd8\xff"
# So much text may stand before a JPEG.
LITTER_BYTES = 1024
# Or so many bytes of any kind.
FEW_BYTES = 16
_TEXT = bytes([9, 10, 13, *range(32, 127)])
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\1\0", "icon"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"IIRO", "camera raw"),
)
_ISO_BRANDS: dict[bytes, Format] = {
    b"avif": "avif",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), "heic"),
}
_LEFT_OPEN = {b"mif1", b"msf1", b"miaf"}
_BRAND_BYTES = 256
# By so many a WebP is told from other RIFF files, and boxes by their brand.
_FIRST_BYTES = 12
_SEQUENCES = {
    b"avis": "an AVIF sequence",
    b"hevc": "a HEIC sequence",
    b"hevx": "a HEIC sequence",
    b"crx ": "camera raw",
}


class Header(msgspec.Struct, frozen=True):
    """`width` and `height` as stored, before `orientation` (EXIF 1..8); `captured` ISO 8601 UTC or None.

    `straight_alpha`: a TIFF whose colours are not multiplied by their alpha. `whole_bytes`: memory that
    decoding takes however small the picture is wanted. `start`: where in the file a JPEG begins.
    `unended`: one without its end-of-image marker. `lacks_scans`: and without scans that complete it.
    `deep`: 16 bits a channel.
    """

    format: Format
    width: int
    height: int
    orientation: int
    captured: str | None
    straight_alpha: bool = False
    whole_bytes: int = 0
    start: int = 0
    unended: bool = False
    lacks_scans: bool = False
    deep: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is not as it should be, and does no harm."""
        before = (f"{self.start} bytes before the picture",) if self.start else ()
        return (*before, "no end-of-image marker") if self.unended else before

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height as a person sees the picture."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def suffix_of(data: bytes) -> str:
    """Return what the name of a file with this in it ends in; that of a JPEG where it is nothing we know."""
    try:
        kind = _format_of(data)
    except ImageError:
        kind = "jpeg"
    return ".jpg" if kind == "jpeg" else f".{kind}"


def read_header(data: bytes) -> Header:
    """Read it; raises ImageError `not_an_image`, `unsupported_format`, `truncated` or `unreadable`."""
    start = _start_of_jpeg(data)
    kind = "jpeg" if start else _format_of(data)
    try:
        found = _READERS[kind](data[start:] if start else data)
    except (struct.error, IndexError) as error:
        raise truncated("inside its header") from error
    if found.width <= 0 or found.height <= 0:
        raise ImageError("unreadable", f"a picture of {found.width} x {found.height} pixels")
    exif = found.exif
    return Header(
        format=kind,
        width=found.width,
        height=found.height,
        orientation=exif.orientation,
        captured=exif.captured,
        straight_alpha=found.straight_alpha,
        whole_bytes=found.whole_bytes,
        start=start,
        unended=found.unended,
        lacks_scans=found.lacks_scans,
        deep=found.deep,
    )


def check_bounds(header: Header, bounds: Bounds) -> None:
    """Raise ImageError `too_many_pixels` for what would take too much memory to decode."""
    size = f"{header.width} x {header.height}"
    if header.width * header.height > bounds.max_pixels:
        raise ImageError("too_many_pixels", f"{size} pixels, more than the limit of {bounds.max_pixels}")
    if max(header.width, header.height) > LONGEST_SIDE:
        raise ImageError("too_many_pixels", f"{size} pixels: decoders take {LONGEST_SIDE:,} a side at most")
    if header.whole_bytes > WHOLE_BYTES_A_PIXEL * bounds.max_pixels:
        kind = f"{size} pixels of a {header.format} that cannot be decoded small"
        limit = f"{WHOLE_BYTES_A_PIXEL} for each of the limit of {bounds.max_pixels}"
        raise ImageError("too_many_pixels", f"{kind} take {header.whole_bytes} bytes, more than {limit}")


def _start_of_jpeg(data: bytes) -> int:
    """Return where the picture begins behind a camera's HTTP header, or an empty line."""
    head = data[: LITTER_BYTES + len(_JPEG_START)]
    start = head.find(_JPEG_START, 1)
    few = 0 < start <= FEW_BYTES and not _is_known(data)
    return start if few or (start > 0 and head[:start].translate(None, _TEXT) == b"") else 0


def _is_known(data: bytes) -> bool:
    return data[4:8] == b"ftyp" or any(data.startswith(magic) for magic, _ in (*_MAGIC, *_FOREIGN))


def _format_of(data: bytes) -> Format:
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    foreign = next((name for magic, name in _FOREIGN if data.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        if found := _of_brands(data):
            return found
        foreign = _SEQUENCES.get(data[8:12])
    if foreign:
        raise ImageError(
            "unsupported_format",
            f"{foreign} is not supported; use JPEG, PNG, WebP, HEIC, AVIF, GIF, JPEG 2000, BMP or TIFF",
        )
    if _is_begun(data):
        raise truncated("inside its first bytes")
    raise ImageError("not_an_image", "not an image: its first bytes belong to no known format")


def _is_begun(data: bytes) -> bool:
    """Whether it is too short to tell, and may become what we know."""
    if any(magic.startswith(data) for magic, _ in _MAGIC):
        return True
    if data[4:8] == b"ftyp":
        return len(data) < min(int.from_bytes(data[:4]), _BRAND_BYTES)
    riff = b"RIFF".startswith(data[:4]) and b"WEBP".startswith(data[8:12])
    boxes = b"\0\0\0".startswith(data[:3]) and b"ftyp".startswith(data[4:8])
    return len(data) < _FIRST_BYTES and (riff or boxes)


def _of_brands(data: bytes) -> Format | None:
    """Tell by the major brand, and by those that it is compatible with where that one leaves it open."""
    size = min(int.from_bytes(data[:4], "big"), _BRAND_BYTES)
    major, *others = (data[place : place + 4] for place in (8, *range(16, size, 4)))
    known = [_ISO_BRANDS[brand] for brand in (major, *others) if brand in _ISO_BRANDS]
    return known[0] if known and (major in _ISO_BRANDS or major in _LEFT_OPEN) else None
