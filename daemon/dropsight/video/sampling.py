"""Which frames of a clip to look at: its keyframes, or one every so often, spread evenly over a long one."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.records import SampleBy

# Of the wanted distance; beyond it, keyframes are too far apart to stand for what lies between them.
_WIDEST_GAP = 1.5


class Sampling(msgspec.Struct, frozen=True):
    """`auto` takes keyframes where they are close enough, as decoding them alone costs a fraction.

    `every_seconds` is the wanted distance of frames; a clip that would have more than `max_frames` has them
    further apart. `skip_still`: a frame that hardly differs from the last one that was handed on is not.
    """

    sample: SampleBy = "auto"
    every_seconds: float = 0.5
    max_frames: int = 64
    skip_still: bool = True
    max_seconds: float = 14400.0


class ChosenFrames(NamedTuple):
    by: Literal["keyframes", "every"]
    frames: Sequence[int]
    """Indices into the frames in the order of their times, ascending, each once."""


def choose(
    times: NDArray[np.float64], keys: NDArray[np.bool_], sampling: Sampling, *, at: Sequence[float] = ()
) -> ChosenFrames:
    """Choose among frames at `times`, ascending, in seconds, of which `keys` are keyframes; at least one.

    Those nearest to `at`, seconds from the first frame, where that is given.
    """
    if at:
        asked = _nearest(times, times[0] + np.array(at))
        return ChosenFrames("every", sorted({int(place) for place in asked}))
    span = float(times[-1] - times[0])
    apart = max(sampling.every_seconds, span / max(sampling.max_frames - 1, 1))
    key_frames = np.flatnonzero(keys)
    dense = key_frames.size > 0 and _widest(times[key_frames], times[-1]) <= _WIDEST_GAP * apart
    if sampling.sample == "keyframes" and key_frames.size:
        return ChosenFrames("keyframes", _spread(key_frames, sampling.max_frames))
    pool = key_frames if sampling.sample == "auto" and dense else np.arange(len(times))
    wanted = times[0] + apart * np.arange(min(int(span / apart + 1e-6) + 1, sampling.max_frames))
    nearest = _nearest(times[pool], wanted)
    by: Literal["keyframes", "every"] = "keyframes" if sampling.sample == "auto" and dense else "every"
    return ChosenFrames(by, sorted({int(pool[place]) for place in nearest}))


def _widest(key_times: NDArray[np.float64], end: float) -> float:
    return float(np.diff(np.append(key_times, end)).max())


def _spread(frames: NDArray[np.intp], most: int) -> list[int]:
    if len(frames) <= most:
        return [int(frame) for frame in frames]
    places = np.linspace(0, len(frames) - 1, most).round().astype(int)
    return sorted({int(frames[place]) for place in places})


def _nearest(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return for each wanted time the index of the nearest one; the earlier of two equally near."""
    after = np.searchsorted(times, wanted).clip(0, len(times) - 1)
    before = (after - 1).clip(0)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)


class Thinning:
    """Keeps at most so many of frames whose number nobody knows, evenly spread.

    Whenever there would be more, every second one goes, and from then on half as many come in.
    """

    def __init__(self, every_seconds: float, most: int) -> None:
        self._apart, self._most = every_seconds, max(most, 1)
        self._first: float | None = None
        self.times: list[float] = []

    def wants(self, time: float) -> bool:
        """Whether to keep a frame of this time, which must not be before earlier ones."""
        if self._first is None:
            self._first = time
        return time + 1e-6 >= self._first + len(self.times) * self._apart

    def keep(self, time: float) -> bool:
        """Note one that was wanted; True where every second of those kept has to go."""
        self.times.append(time)
        if len(self.times) <= self._most:
            return False
        self.times = self.times[::2]
        self._apart *= 2
        return True


class Picking:
    """As `Thinning`, but keeps the first frame at or after each of certain times."""

    def __init__(self, at: Sequence[float]) -> None:
        self._left = list(at)

    def wants(self, time: float) -> bool:
        return bool(self._left) and time + 1e-3 >= self._left[0]

    def keep(self, time: float) -> bool:
        self._left = [each for each in self._left if each > time + 1e-3]
        return False
