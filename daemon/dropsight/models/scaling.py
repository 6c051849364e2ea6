"""Whether a model scales its pixels itself, and which ones it then wants: told by the constants.

Its first operators are arithmetic with constants: y = a x + b, per channel. 1/255 or (x - 127.5) / 127.5
make sense of pixels from 0 to 255; the mean and deviation of ImageNet in 0..1 of pixels of that range.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dropsight.records import Normalization

Arithmetic: TypeAlias = Literal["add", "subtract", "multiply", "divide"]


class Step(NamedTuple):
    """x + constant and so on, of one constant for all channels, or one a channel."""

    kind: Arithmetic
    constant: NDArray[np.floating]


class _Range(NamedTuple):
    low: float
    high: float


PIXELS = Normalization((0.0,), (1.0,))
# What may go in, and how pixels become it.
_WANTED = {
    _Range(0, 255): PIXELS,
    _Range(0, 1): Normalization((0.0,), (255.0,)),
    _Range(-1, 1): Normalization((127.5,), (127.5,)),
}
# What usually comes out.
_USUAL = [_Range(0, 1), _Range(-1, 1), _Range(-0.5, 0.5), _Range(0, 255), _Range(-127.5, 127.5)]
# As far as two ranges may lie apart and be the same, by their width: (x - 127) / 128 is [-1, 1] as well.
_LIKENESS = 0.02
# Mean and deviation of photos, divided by which darkest and brightest come to lie here.
_DARKEST, _BRIGHTEST = _Range(-4, -0.7), _Range(0.7, 5)
_LEAST_GAIN = 0.1
# Mean color of photos, taken off and no more.
_MEAN_COLOR = _Range(90, 140)


def wanted_by(steps: Iterable[Step]) -> Normalization | None:
    """Return how pixels are to be normalized for a model that begins so; None where that cannot be told."""
    factor, offset = np.ones(1), np.zeros(1)
    for kind, constant in steps:
        values = np.asarray(constant, np.float64).ravel()
        match kind:
            case "add":
                offset = offset + values
            case "subtract":
                offset = offset - values
            case "multiply":
                factor, offset = factor * values, offset * values
            case "divide":
                if not values.all():
                    return None
                factor, offset = factor / values, offset / values
        fitting = [pixels for before, pixels in _WANTED.items() if _is_scaling(before, factor, offset)]
        if len(fitting) == 1:
            return fitting[0]
    return None


def usual_for(gain: float | None) -> Normalization | None:
    """Guess what goes in from how far apart black and white can drive a first convolution, in 0..1.

    Trained on 0..1 or -1..1 it is some 1 to 30; a 255th of that has a scaling of pixels folded into it.
    """
    return PIXELS if gain is not None and gain < _LEAST_GAIN else None


def _is_scaling(before: _Range, factor: NDArray[np.floating], offset: NDArray[np.floating]) -> bool:
    """Whether this makes a range that networks are trained on of one that pictures are kept in."""
    low, high = factor * before.low + offset, factor * before.high + offset
    after = (float(low.mean()), float(high.mean()))
    if before != after and any(_is_alike(low, high, usual) for usual in _USUAL if usual != before):
        return True
    if before == _Range(-1, 1):  # which is centred already
        return False
    centred = _within(low, _DARKEST) and _within(high, _BRIGHTEST)
    of_mean_color = bool((factor == 1).all()) and _within(-offset, _MEAN_COLOR) and before.high > 1
    return centred or of_mean_color


def _is_alike(low: NDArray[np.floating], high: NDArray[np.floating], usual: _Range) -> bool:
    tolerance = (usual.high - usual.low) * _LIKENESS
    differences = np.abs(np.concatenate([low - usual.low, high - usual.high]))
    return bool((differences <= tolerance).all())


def _within(values: NDArray[np.floating], bounds: _Range) -> bool:
    return bool((values >= bounds.low).all() and (values <= bounds.high).all())
