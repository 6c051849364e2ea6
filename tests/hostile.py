"""Files that no camera should drop, each with the outcomes that are right for it."""

import io
import os
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from daemons import PHOTOS

Outcomes = frozenset[str]
OK = frozenset({"ok"})
UNUSABLE = frozenset({"truncated", "not_an_image", "unsupported_format", "empty"})
ANYTHING = UNUSABLE | OK | {"unreadable", "too_many_pixels", "too_large"}
FORMATS = (".jpg", ".png", ".webp", ".bmp", ".tif")
INTERLACING = [
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
]


def photo() -> NDArray[np.uint8]:
    pixels = cv2.imread(str(PHOTOS[0]))
    assert pixels is not None
    return np.asarray(cv2.resize(pixels, (160, 120)), np.uint8)


def encoded(suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, photo(), list(options))[1].tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, raw: bytes, *, interlaced: bool = False) -> bytes:
    return png_of(width, height, zlib.compress(raw), interlaced=interlaced)


def png_of(width: int, height: int, compressed: bytes, *, interlaced: bool = False) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, int(interlaced))
    parts = [(b"IHDR", header), (b"IDAT", compressed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def interlaced_png() -> bytes:
    pixels = photo()[:, :, ::-1]
    passes = (pixels[top::down, left::right] for top, left, down, right in INTERLACING)
    raw = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    return png(pixels.shape[1], pixels.shape[0], raw, interlaced=True)


def tiff_with_absurd_tags() -> bytes:
    """Counts and offsets beyond the file, a picture of 2**31 pixels a side, and a loop of directories."""
    tags = [(256, 4, 1, 2**31), (257, 4, 1, 2**31), (258, 3, 2**30, 2**31), (273, 4, 2**31, 2**31 - 1)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8)


def jpeg_with_an_exif_loop() -> bytes:
    directory = struct.pack("<H", 1) + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    body = b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory
    jpeg = encoded(".jpg")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def png_with_heavy_exif(tags: int, values: int) -> bytes:
    """Tags that nobody asked for and a text that is, all with the same many values."""
    kinds = [0x9003, *range(0xA000, 0xA000 + tags - 1)]
    entries = b"".join(struct.pack("<HHII", kind, 2 if kind == 0x9003 else 4, values, 64) for kind in kinds)
    exif = b"II*\0" + struct.pack("<IH", 8, tags) + entries + bytes(4 * values)
    whole = encoded(".png")
    return whole[:33] + chunk(b"eXIf", exif) + whole[33:]


def tiff_with_two_sizes() -> bytes:
    """64 x 64 pixels first, then 40,000 x 40,000."""
    small = [(256, 3, 1, 64), (256, 4, 1, 40_000), (257, 3, 1, 64), (257, 4, 1, 40_000)]
    rest = [
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 200),
        (277, 3, 1, 1),
        (279, 4, 1, 4096),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in small + rest)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(small + rest)) + entries + bytes(4)
    return head.ljust(200, b"\0") + bytes(4096)


def png_with_texts(count: int) -> bytes:
    """Seven megabytes each, in seven kilobytes."""
    whole = encoded(".png")
    return whole[:33] + chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(7 * 2**20), 9)) * count + whole[33:]


def png_with_excess(megabytes: int) -> bytes:
    """So much more behind the last row, in a thousandth of it."""
    deflater = zlib.compressobj(9)
    picture = deflater.compress(bytes(64 * (1 + 3 * 64))) + deflater.flush(zlib.Z_FULL_FLUSH)
    sixteen = deflater.compress(bytes(2**24)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return png_of(64, 64, picture + sixteen * (megabytes // 16) + deflater.flush())


def webp_with_a_canvas(side: int) -> bytes:
    """An animation of small frames that says it is a large one."""
    whole = animated("WEBP")
    return whole[:24] + (side - 1).to_bytes(3, "little") * 2 + whole[30:]


def tiff_with_a_tile(side: int, kind: int = 4) -> bytes:
    """64 x 64 pixels in one tile of so many; `kind` 4 is of 32 bits, 16 of 64."""
    tags = [(256, 4, 64), (257, 4, 64), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1)]
    tags += [(322, kind, side), (323, kind, side), (324, 4, 300), (325, 4, 1000)]
    entries = b"".join(
        struct.pack("<HHII", tag, code, 1, 200 if code == 16 else value) for tag, code, value in tags
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + struct.pack("<Q", side).ljust(100, b"\0") + bytes(1000)


def jpeg_with_empty_scans(count: int) -> bytes:
    whole = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = whole.rfind(b"\xff\xda")
    (length,) = struct.unpack_from(">H", whole, last + 2)
    return whole[:-2] + whole[last : last + 2 + length] * count + whole[-2:]


def large_progressive(side: int, scans: int) -> bytes:
    """A square, sound JPEG with so many scans more than an encoder makes."""
    tile = np.tile(photo(), (-(-side // 120), -(-side // 160), 1))[:side, :side]
    whole = cv2.imencode(".jpg", tile, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = whole.rfind(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * scans + whole[-2:]


def progressive_claiming(width: int, height: int) -> bytes:
    """A small progressive JPEG of full colour that says it is a large one."""
    small = saved(Image.fromarray(photo()), "JPEG", progressive=True, subsampling=0)
    place = small.index(b"\xff\xc2") + 5
    return small[:place] + struct.pack(">HH", height, width) + small[place + 4 :]


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(photo()).rotate(angle) for angle in (0, 90, 180)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


def contents() -> Iterator[tuple[str, bytes, Outcomes]]:
    """Name, content and right outcomes of files that are broken inside, or only look so."""
    for suffix in FORMATS:
        whole = encoded(suffix)
        yield f"whole{suffix}", whole, OK
        for part in range(16):
            yield f"cut-{part:02}{suffix}", whole[: len(whole) * part // 16], UNUSABLE
        chance = random.Random(suffix)  # noqa: S311 - repeatable, not secret
        for number in range(24):
            flipped = bytearray(whole)
            for _ in range(8):
                flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            yield f"flipped-{number:02}{suffix}", bytes(flipped), ANYTHING
    for suffix, other in zip(FORMATS, reversed(FORMATS), strict=True):
        yield f"really-{other[1:]}{suffix}", encoded(other), OK
    yield "zeros.jpg", bytes(100_000), UNUSABLE
    yield "text.jpg", b"GET / HTTP/1.1\r\n" * 100, UNUSABLE
    yield "bomb.png", png(50_000, 50_000, bytes(1000)), frozenset({"too_many_pixels"})
    yield "absurd.tif", tiff_with_absurd_tags(), UNUSABLE | {"too_many_pixels"}
    side = 9_990  # within the limit of pixels, but not in memory: they cannot be decoded small
    flat = zlib.compressobj(9)
    raw = b"".join(flat.compress(bytes(1 + 3 * side)) for _ in range(side)) + flat.flush()
    yield "large.png", png_of(side, side, raw), frozenset({"too_many_pixels"})
    yield "large-progressive.jpg", progressive_claiming(9_000, 9_000), frozenset({"too_many_pixels"})
    yield "endless-segments.jpg", b"\xff\xd8" + b"\xff\xfe\0\2" * 1_000_000, frozenset({"unreadable"})
    yield "endless-markers.jpg", b"\xff\xd8\xff\xe0\0\2" + b"\xff\x01" * 10_000_000, UNUSABLE
    yield "endless-scans.jpg", jpeg_with_empty_scans(20_000), frozenset({"unreadable"})
    yield (
        "endless-chunks.png",
        encoded(".png")[:33] + chunk(b"tEXt", b"") * 100_000,
        frozenset({"unreadable"}),
    )
    yield "texts.png", png_with_texts(900), frozenset({"unreadable"})
    yield "excess.png", png_with_excess(20_000), frozenset({"unreadable"})
    yield "canvas.webp", webp_with_a_canvas(7_000), frozenset({"too_many_pixels"})
    yield "tile.tif", tiff_with_a_tile(15_008), frozenset({"too_many_pixels"})
    yield "tile-of-64-bits.tif", tiff_with_a_tile(15_008, 16), frozenset({"too_many_pixels"})
    yield "heavy-exif.png", png_with_heavy_exif(tags=900, values=900_000), OK
    yield "two-sizes.tif", tiff_with_two_sizes(), OK
    yield "exif-loop.jpg", jpeg_with_an_exif_loop(), OK
    yield "progressive.jpg", encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), OK
    yield "cmyk.jpg", saved(Image.fromarray(photo()).convert("CMYK"), "JPEG"), OK
    deep = cv2.imencode(".png", photo().astype(np.uint16) * 257)[1].tobytes()
    yield "sixteen-bits.png", deep, OK
    yield "interlaced.png", interlaced_png(), OK
    yield "animated-gif.jpg", animated("GIF"), OK | {"unsupported_format"}
    yield "animated.webp", animated("WEBP"), OK | {"unsupported_format"}


def names() -> list[bytes]:
    """Names of files with nothing wrong inside."""
    return [
        b"new\nline.jpg",
        "\N{CAT FACE} emoji \u202e.jpg".encode(),
        b"x" * 251 + b".jpg",
        b"not-utf8-\xff\xfe.jpg",
        b"--help.jpg",
        b"'quotes\"$(and) more;.jpg",
        b" space .JPG",
    ]


def things(folder: Path) -> Iterator[tuple[str, Outcomes]]:
    """Make what is no regular file; tell names and outcomes."""
    outside = folder.parent / "outside.jpg"
    outside.write_bytes(encoded(".jpg"))
    (folder / "link.jpg").symlink_to(outside)
    (folder / "dangling.jpg").symlink_to(folder.parent / "nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(folder, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/socket.jpg")
        os.close(here)
    (folder / "folder.jpg").mkdir()
    for name in ("link.jpg", "dangling.jpg", "pipe.jpg", "socket.jpg"):
        yield name, frozenset({"not_a_file"})
    if os.geteuid() == 0:
        os.mknod(folder / "device.jpg", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
        yield "device.jpg", frozenset({"not_a_file"})
