"""Pictures and clips for scripts/fuzz.py, and what decodes them."""

import io
import os
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pillow_heif

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from clips import make_clip, numbered
from daemons import PHOTOS
from dropsight.errors import ImageError
from dropsight.images.decoding import decode
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds, ImageFile
from dropsight.video import completeness
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.video.sampling import Sampling
from dropsight.video.wire import ClipOrder, Frames
from fuzz import Throw
from fuzz_throwing import Finding

# What is within bounds is decoded: 2 megapixels are to need no more than scripts/fuzz.py allows.
BOUNDS = Bounds(max_bytes=2**20, max_pixels=2_000_000)


def picture() -> cv2.typing.MatLike:
    found = cv2.imread(str(PHOTOS[0]))
    if found is None:
        raise FileNotFoundError(PHOTOS[0])
    return cv2.resize(found, (48, 32))


def encoded(suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, picture(), list(options))[1].tobytes()


def pictures() -> list[bytes]:
    kinds = [encoded(suffix) for suffix in (".jpg", ".png", ".webp", ".bmp")]
    progressive = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    lossless = encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
    return [*kinds, progressive, lossless, *with_exif(), *dropped()]


def dropped() -> list[bytes]:
    """Those kinds that people drop and OpenCV has."""
    return [encoded(suffix) for suffix in (".gif", ".jp2", ".avif")]


def heics() -> list[bytes]:
    """Of tiles; a process of its own would decode each."""
    rgb = cv2.cvtColor(cv2.resize(picture(), (96, 64)), cv2.COLOR_BGR2RGB)
    tiled = io.BytesIO()
    pillow_heif.from_bytes("RGB", (96, 64), rgb.tobytes()).save(tiled, tile_size=64)
    return [tiled.getvalue()]


def exif_blocks() -> list[bytes]:
    """Of both byte orders: an orientation, a time, and a directory within."""
    blocks = []
    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        inner = struct.pack(f"{order}HHHII", 1, 0x9003, 2, 20, 90)
        outer = [(0x112, 3, 1, 6), (0x132, 2, 20, 90), (0x8769, 4, 1, 60)]
        entries = b"".join(struct.pack(f"{order}HHII", *tag) for tag in outer)
        head = mark + struct.pack(f"{order}IH", 8, len(outer)) + entries
        blocks.append((head.ljust(60, b"\0") + inner).ljust(90, b"\0") + b"2024:05:06 07:08:09\0")
    return blocks


def with_exif() -> Iterator[bytes]:
    jpeg, png = encoded(".jpg"), encoded(".png")
    for block in exif_blocks():
        body = b"Exif\0\0" + block
        yield jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
        yield png[:33] + struct.pack(">I", len(block)) + b"eXIf" + block + bytes(4) + png[33:]


def tiffs() -> list[bytes]:
    deep = cv2.imencode(".tif", np.asarray(picture(), np.uint16) * 257)[1].tobytes()
    alpha = cv2.imencode(".tif", cv2.cvtColor(picture(), cv2.COLOR_BGR2BGRA))[1].tobytes()
    plain = encoded(".tif", cv2.IMWRITE_TIFF_COMPRESSION, 1)
    return [encoded(".tif"), plain, deep, alpha]


def decoded(data: bytes) -> None:
    header = read_header(data)
    check_bounds(header, BOUNDS)
    pixels = decode(data, header, at_least=(32, 32), how="stretch")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise Finding(f"pixels of {pixels.dtype} {pixels.shape}")


CLIP_BOUNDS = ClipBounds(max_bytes=2**20, max_pixels=2_000_000, cpu_seconds=4, seconds=8)
CLIP_ORDER = ClipOrder(
    Sampling(max_frames=8), Frames((32, 32), "crop", 0.875), 2_000_000, 4, whole_only=False
)


def clips() -> list[bytes]:
    kinds = [
        *(("mp4", "libx264", "yuv420p"), ("mp4", "libx265", "yuv420p"), ("matroska", "libx264", "yuv420p")),
        *(("avi", "mjpeg", "yuvj420p"), ("mpegts", "mpeg2video", "yuv420p"), ("webm", "libvpx", "yuv420p")),
        *(("h264", "libx264", "yuv420p"), ("flv", "flv1", "yuv420p")),
    ]
    av.logging.set_level(av.logging.PANIC)
    with tempfile.TemporaryDirectory() as folder:
        path, pictures = Path(folder) / "clip", numbered(12, height=48, width=64)
        return [
            make_clip(path, pictures, codec=codec, pix_fmt=pix_fmt, container=container).read_bytes()
            for container, codec, pix_fmt in kinds
        ]


@contextmanager
def the_clip_decoder() -> Iterator[Throw]:
    """A crash of its process by a signal is what there is a process for; an exception in it is a finding."""
    with ClipDecoder(CLIP_BOUNDS) as decoder:

        def throw(data: bytes) -> None:
            fd = os.memfd_create("clip")
            os.write(fd, data)
            try:
                with ImageFile(fd, os.fstat(fd)) as file:
                    completeness.is_whole(file)
                    list(decoder.decode(file, CLIP_ORDER))
            except ImageError as error:
                if "ends the process" in str(error) or "nobody understands" in str(error):
                    raise Finding(str(error)) from error

        yield throw
