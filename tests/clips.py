"""Clips that tests make: with PyAV, in any container, of given pictures."""

from collections.abc import Container, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (height, width, 3), RGB


def make_clip(
    path: Path,
    pictures: Iterable[Picture],
    *,
    codec: str = "libx264",
    rate: int | Fraction = 10,
    gop: int = 10,
    pix_fmt: str = "yuv420p",
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    first: int = 0,
    last_stays: int = 1,
    left_out: Container[int] = (),
) -> Path:
    """Encode pictures of one size, `rate` a second, a keyframe every `gop`.

    The first one has the time of number `first`; the last is shown for as long as so many; those that are
    `left_out` are not there, and their time is.
    """
    options = {"g": str(gop), "keyint_min": str(gop), "sc_threshold": "0"} if codec != "ffv1" else {}
    with av.open(str(path), "w", format=container, options=container_options or {}) as made:
        stream: Any = made.add_stream(codec, rate=rate, options=options)
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pix_fmt
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if number in left_out:
                continue
            if first or left_out:
                frame.pts, frame.time_base = first + number, 1 / Fraction(rate)
            for packet in stream.encode(frame):
                made.mux(packet)
        for packet in (left := stream.encode()):
            packet.duration *= last_stays if packet is left[-1] else 1
            made.mux(packet)
    return path


def numbered(count: int, *, height: int = 64, width: int = 96) -> list[Picture]:
    """Return pictures whose gray level tells their number, by steps of four: see `number_of`."""
    return [np.full((height, width, 3), 20 + 4 * (number % 50), np.uint8) for number in range(count)]


def number_of(picture: Picture) -> int:
    return round((float(picture.mean()) - 20) / 4)


def of_photos(photos: Sequence[Path], *, height: int = 240, width: int = 320) -> list[Picture]:
    """Return photos as RGB of one size, the whole central part of each."""
    pictures = []
    for photo in photos:
        read = np.asarray(cv2.imread(str(photo)))
        scale = max(height / read.shape[0], width / read.shape[1])
        large = cv2.resize(read, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
        cut = large[top : top + height, left : left + width]
        pictures.append(np.asarray(cv2.cvtColor(cut, cv2.COLOR_BGR2RGB), np.uint8))
    return pictures
