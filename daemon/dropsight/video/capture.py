"""Clips by OpenCV, which is always there: it decodes every frame, and knows no keyframes."""

import os
import time
from collections.abc import Iterator

import cv2

from dropsight.errors import ImageError
from dropsight.video.clip_reader import FORMATS, PROTOCOLS, DecodedFrame, check_length, check_size, missing
from dropsight.video.sampling import Picking, Thinning
from dropsight.video.wire import ClipHeader, ClipOrder

_OPTIONS = f"format_whitelist;{FORMATS}|protocol_whitelist;{PROTOCOLS}|threads;1"


class CaptureReader:
    """Reads a clip to its end at once, keeping as many frames as are wanted."""

    def __init__(self, path: str, order: ClipOrder) -> None:
        self._order = order
        self._capture = _opened(path)
        get = self._capture.get
        width, height = int(get(cv2.CAP_PROP_FRAME_WIDTH)), int(get(cv2.CAP_PROP_FRAME_HEIGHT))
        check_size(width, height, order.max_pixels)
        rate = get(cv2.CAP_PROP_FPS)
        self._rate = rate if 1e-3 < rate < 1e6 else 25.0
        claimed, code = get(cv2.CAP_PROP_FRAME_COUNT) / self._rate, int(get(cv2.CAP_PROP_FOURCC))
        self._kept, ended, timed = self._read_all()
        self._capture.release()
        self._short = missing(ended, claimed)
        if self._short and order.whole_only:
            raise ImageError("truncated", self._short)
        self.header = ClipHeader(
            duration=round(ended, 3),
            fps=round(self._rate, 3),
            codec=_codec(code),
            width=width,
            height=height,
            frames=self.frames_read,
            sampling="every",
            timed=timed,
            reader=f"OpenCV {cv2.__version__}",
        )

    def frames(self) -> Iterator[DecodedFrame]:
        """See Reader."""
        yield from self._kept

    def warnings(self) -> tuple[str, ...]:
        """See Reader."""
        return (self._short,) if self._short else ()

    def _read_all(self) -> tuple[list[DecodedFrame], float, bool]:
        """Return what was kept, when the last frame ends, and whether frames have times."""
        sampling = self._order.sampling
        every = Thinning(sampling.every_seconds, sampling.max_frames)
        choice = Picking(self._order.at) if self._order.at else every
        kept: list[DecodedFrame] = []
        self.frames_read, at, timed, began = 0, 0.0, False, time.perf_counter()
        first = None
        while self._capture.grab():
            stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            first = stamp if first is None else first
            timed = timed or stamp > first
            at = max(stamp - first if timed else self.frames_read / self._rate, at)
            check_length(at, sampling.max_seconds)
            if choice.wants(at):
                grabbed, pixels = self._capture.retrieve()
                if grabbed:
                    check_size(pixels.shape[1], pixels.shape[0], self._order.max_pixels)
                    rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
                    now = time.perf_counter()
                    kept.append(DecodedFrame(at, self.frames_read, rgb, (now - began) * 1e3))  # type: ignore[arg-type] # uint8
                    began = now
                    if choice.keep(at):
                        kept = kept[::2]
            self.frames_read += 1
        if not kept:
            raise ImageError("truncated", "none of its frames can be decoded")
        return kept, at + 1 / self._rate, timed


def _opened(path: str) -> cv2.VideoCapture:
    os.close(os.open(path, os.O_RDONLY))  # it may be the machine that has no descriptor
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = _OPTIONS
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        raise ImageError("truncated", "the clip cannot be read: it is truncated, damaged or not a video")
    return capture


def _codec(code: int) -> str:
    return code.to_bytes(4, "little").rstrip(b"\0 ").decode("ascii", "replace").lower()
