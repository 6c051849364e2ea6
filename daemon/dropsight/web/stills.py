"""Frames of a clip for people: the surest one, and a strip of them, decoded by a process of its own."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from dropsight.config import Watch
from dropsight.errors import ImageError
from dropsight.images.company import COMPANY
from dropsight.images.framing import resize
from dropsight.images.opening import Bounds, ImageFile
from dropsight.images.thumbnail import as_jpeg, shrink
from dropsight.journal.reader import RecordedFile
from dropsight.records import Glance
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.video.sampling import Sampling
from dropsight.video.wire import ClipFrame, ClipOrder
from dropsight.web.pictures import SIZES, find_image, pixels_of

STRIP_FRAMES = 8
TILE_PIXELS = 240
# Of a picture for people: a clip that takes more than this is shown without.
STILL_BOUNDS = ClipBounds(cpu_seconds=60.0, seconds=120.0, patience=120.0, damaged_too=True)
# Where somebody else waits meanwhile.
_BRIEF_BOUNDS = ClipBounds(cpu_seconds=10.0, seconds=20.0, patience=20.0, damaged_too=True)


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


def surest(decoder: ClipDecoder, file: ImageFile, clip: ShownClip, *, longest: int, max_pixels: int) -> bytes:
    """Return a JPEG of the peak frame; raises as `ClipDecoder.decode` does."""
    (found, *_) = _frames(decoder, file, [clip.peak.time], longest, max_pixels)
    return found.thumbnail


def strip(decoder: ClipDecoder, file: ImageFile, clip: ShownClip, *, max_pixels: int) -> bytes:
    """Return a JPEG of eight frames side by side, evenly over the clip; raises as `surest`."""
    found = _frames(decoder, file, sorted(set(clip.strip_times)), TILE_PIXELS, max_pixels)
    return strip_of({frame.time: frame.thumbnail for frame in found}, clip)


def strip_of(frames: Mapping[float, bytes], clip: ShownClip) -> bytes:
    """Put frames, small JPEGs by their times, side by side."""
    nearest = [min(frames, key=lambda at, time=time: abs(at - time)) for time in clip.strip_times]  # type: ignore[misc]
    tiles = {time: shrink(pixels_of(frames[time]), longest=TILE_PIXELS) for time in set(nearest)}
    height, width = tiles[nearest[0]].shape[:2]
    row = np.hstack([resize(tiles[time], height=height, width=width) for time in nearest])
    return as_jpeg(row, longest=row.shape[1])


def make_still(
    row: RecordedFile,
    record_id: str,
    clip: ShownClip,
    watches: Sequence[Watch],
    bounds: Bounds,
    *,
    longest: int = SIZES["small"],
) -> bytes:
    """Return a small JPEG of the peak frame of a record's clip; raises as `find_image` and `surest`."""
    with find_image(row, record_id, watches) as file, ClipDecoder(_BRIEF_BOUNDS) as decoder:
        return surest(decoder, file, clip, longest=longest, max_pixels=bounds.max_pixels)


def _frames(
    decoder: ClipDecoder, file: ImageFile, at: Sequence[float], longest: int, max_pixels: int
) -> list[ClipFrame]:
    order = ClipOrder(
        Sampling(skip_still=False),
        None,
        max_pixels,
        decoder.bounds.cpu_seconds,
        whole_only=False,
        at=tuple(at),
        thumbnail=longest,
    )
    with COMPANY.joined():
        found = [part for part in decoder.decode(file, order) if isinstance(part, ClipFrame)]
    if not found:
        raise ImageError("truncated", "none of its frames can be decoded")
    return found
