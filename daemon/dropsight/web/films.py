"""What clips look like: the surest frame and a strip of frames, decoded when somebody asks for them."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np

from dropsight.errors import ImageError
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels, resize
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds, ImageFile
from dropsight.images.thumbnail import as_jpeg
from dropsight.records import Glance
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.video.sampling import Sampling
from dropsight.video.wire import ClipFrame, ClipOrder
from dropsight.web.background import LOWEST_PRIORITY, BusyError

STRIP_FRAMES = 8
TILE_PIXELS = 240
MOST_WAITING = 64
MOST_FAULTS = 256
_LOOK_SECONDS = 0.02
# Of a picture for people: a clip that takes more than this is shown without.
_BOUNDS = ClipBounds(cpu_seconds=20.0, seconds=40.0, memory=2**29, damaged_too=True)


class _Peak(msgspec.Struct):
    time: float = 0.0


class ShownClip(msgspec.Struct):
    """As much of a record's `clip` as its pictures take."""

    duration: float = 0.0
    peak: _Peak = msgspec.field(default_factory=_Peak)
    timeline: list[tuple[float, int, float]] = []

    @property
    def strip_times(self) -> list[float]:
        """Of the frames that were looked at, those that show in the middle of each eighth."""
        times = np.array([row[0] for row in self.timeline] or [0.0])
        middles = (np.arange(STRIP_FRAMES) + 0.5) * self.duration / STRIP_FRAMES
        places = (np.searchsorted(times, middles, side="right") - 1).clip(0)
        return [float(time) for time in times[places]]


class _OfClip(msgspec.Struct):
    clip: ShownClip | None = None


_of_clip = Glance(_OfClip)


def clip_of(line: bytes) -> ShownClip | None:
    """Return what a record says of its clip; None where it is of no clip, or of one that failed."""
    return _of_clip.at(line).clip


class ClipPictures:
    """A thread and a process of its own, both of the lowest priority; the process ends when nobody waits."""

    def __init__(self, bounds: ClipBounds = _BOUNDS) -> None:
        self._thread = ThreadPoolExecutor(1, "web-clips", initializer=_step_aside)
        self._decoder = ClipDecoder(bounds)
        self._faults: OrderedDict[str, ImageError] = OrderedDict()
        self._waiting = 0
        self._closing = threading.Event()
        self._at_work = threading.Event()

    @property
    def pid(self) -> int | None:
        """Of the process, None where there is none."""
        return self._decoder.pid

    async def make(self, record_id: str, work: Callable[["ClipPictures"], bytes]) -> bytes:
        """Return what `work` makes on the thread.

        Raises BusyError where too much waits, MachineError, and ImageError: at once for a clip that gave
        none before, so that asking again and again costs nothing.
        """
        if record_id in self._faults:
            raise self._faults[record_id]
        if self._waiting >= MOST_WAITING:
            raise BusyError("too many picture requests at once; try again")
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(self._made, work))
        except ImageError as error:
            self._faults[record_id] = error
            if len(self._faults) > MOST_FAULTS:
                self._faults.popitem(last=False)
            raise
        finally:
            self._waiting -= 1
            if not self._waiting and not self._closing.is_set():
                self._thread.submit(self._rest)

    def surest(self, file: ImageFile, clip: ShownClip, *, longest: int, max_pixels: int) -> bytes:
        """Return a JPEG of the peak frame."""
        (found, *_) = self._frames(file, [clip.peak.time], longest, max_pixels)
        return found.thumbnail

    def strip(self, file: ImageFile, clip: ShownClip, *, max_pixels: int) -> bytes:
        """Return a JPEG of eight frames side by side, evenly over the clip."""
        times = clip.strip_times
        found = self._frames(file, sorted(set(times)), TILE_PIXELS, max_pixels)
        tiles = {frame.time: _tile(frame.thumbnail) for frame in found}
        shown = [tiles[min(tiles, key=lambda at, time=time: abs(at - time))] for time in times]  # type: ignore[misc]
        height, width = shown[0].shape[:2]
        row = np.hstack([resize(tile, height=height, width=width) for tile in shown])
        return as_jpeg(row, longest=row.shape[1])

    def close(self) -> None:
        """End the process, and with it what is in hand."""
        self._closing.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
        while self._at_work.is_set():  # an idle process ends with its socket, a killed one may be begun anew
            self._kill()
            time.sleep(_LOOK_SECONDS)
        self._decoder.close()

    def _frames(self, file: ImageFile, at: Sequence[float], longest: int, max_pixels: int) -> list[ClipFrame]:
        order = ClipOrder(
            Sampling(skip_still=False),
            None,
            max_pixels,
            self._decoder.bounds.cpu_seconds,
            whole_only=False,
            at=tuple(at),
            thumbnail=longest,
        )
        found: list[ClipFrame] = []
        for part in self._decoder.decode(file, order):
            if self._closing.is_set():
                raise BusyError("the daemon stops")
            if isinstance(part, ClipFrame):
                found.append(part)
        if not found:
            raise ImageError("truncated", "not one frame of it can be decoded")
        return found

    def _made(self, work: Callable[["ClipPictures"], bytes]) -> bytes:
        self._at_work.set()
        try:
            return work(self)
        finally:
            self._at_work.clear()

    def _rest(self) -> None:
        if not self._waiting:
            self._decoder.close()

    def _kill(self) -> None:
        if pid := self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _tile(jpeg: bytes) -> Pixels:
    """Decode as any stranger's what another process made: it may be a hostile clip's by now."""
    bounds = Bounds(max_pixels=TILE_PIXELS**2)
    header = read_header(jpeg)
    check_bounds(header, bounds)
    width, height = header.upright
    return decode(jpeg, header, at_least=(height, width), how="stretch")


def _step_aside() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
