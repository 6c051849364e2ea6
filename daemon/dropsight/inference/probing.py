"""Trying the usual ways to prepare pictures on a model that does not say which is its own."""

from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from dropsight.images.framing import Pixels, resize
from dropsight.images.views import VIEWS
from dropsight.inference.preparing import Framed, Preparation
from dropsight.inference.ranking import probabilities
from dropsight.models.describing import USUAL_RANGES
from dropsight.models.spec import Model, ModelSpec
from dropsight.records import ColorOrder, Framing, Normalization

Answers = NDArray[np.float32]  # (photos, views, classes), each summing to 1; the first view is the original

_CORNER = 0.8
"""Of the sides, for a view of each corner: a network that sees nonsense changes its mind."""
_TORCHVISION = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CAFFE = Normalization((123.68, 116.779, 103.939), (1.0,))
_OF_COLORS = {"ImageNet's mean and deviation": _TORCHVISION, "ImageNet's mean (Caffe)": _CAFFE}
_FRAMINGS = (Framing("crop", 0.875), Framing("crop", 1.0), Framing("stretch"))


class PreparationVariant(msgspec.Struct, frozen=True):
    """One way to prepare pictures; the normalization's channels are in the order of `color_order`."""

    name: str
    normalization: Normalization
    color_order: ColorOrder
    framing: Framing

    def of(self, spec: ModelSpec) -> ModelSpec:
        return replace(
            spec, normalization=self.normalization, color_order=self.color_order, framing=self.framing
        )


def candidates(spec: ModelSpec) -> list[PreparationVariant]:
    """Return the usual normalizations in either order of colors, framed as the model says.

    What is in force is among them, whatever it is.
    """
    usual = {**USUAL_RANGES, **(_OF_COLORS if spec.channels == 3 else {})}
    if spec.normalization not in usual.values():
        usual = {"as it is now": spec.normalization, **usual}
    found = []
    for name, normalization in usual.items():
        found.append(PreparationVariant(name, normalization, "RGB", spec.framing))
        if spec.channels == 3:
            found.append(PreparationVariant(name, _turned(normalization), "BGR", spec.framing))
    return found


def framed_otherwise(candidate: PreparationVariant) -> list[PreparationVariant]:
    """Return the same with the other usual framings."""
    return [replace(candidate, framing=each) for each in _FRAMINGS if each != candidate.framing]


def _turned(normalization: Normalization) -> Normalization:
    return Normalization(normalization.mean[::-1], normalization.std[::-1])


def answers(
    model: Model,
    candidate: PreparationVariant,
    photos: Sequence[Pixels],
    *,
    done: Callable[[], object] = lambda: None,
) -> Answers:
    """Ask the model for each photo in all views; `done` is called after each photo."""
    spec = candidate.of(model.spec)
    preparation = Preparation(spec)
    found = []
    for photo in photos:
        views = list(_views(preparation.frame(photo)))
        scores = np.concatenate([model.scores(preparation.batch([view])) for view in views])
        found.append(_distributions(probabilities(scores, spec, 1.0)))
        done()
    return np.stack(found)


def _views(framed: Framed) -> Iterator[Framed]:
    """Yield the original, then turned and mirrored, then the corners."""
    height, width, channels = framed.shape
    for turn in VIEWS.values():
        turned = turn(framed)
        if turned.shape == framed.shape:
            yield np.ascontiguousarray(turned)
    tall, wide = max(round(height * _CORNER), 1), max(round(width * _CORNER), 1)
    for rows in (slice(0, tall), slice(height - tall, height)):
        for columns in (slice(0, wide), slice(width - wide, width)):
            corner = np.ascontiguousarray(framed[rows, columns])
            yield resize(corner, height=height, width=width).reshape(height, width, channels)


def _distributions(found: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale to a sum of 1, which those of integers and of several labels have not; NaN is no answer."""
    positive = np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0).clip(min=1e-9)
    shares: NDArray[np.float32] = (positive / positive.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares
