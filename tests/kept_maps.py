"""Explainers that keep what they found: a map takes up to a thousand runs, and several tests want it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from dropsight.explain.explaining import GRADIENT_FREE, Explainer, Method
from dropsight.explain.heatmap import Heatmap
from dropsight.images.framing import Pixels
from dropsight.models.backends import open_model
from dropsight.models.spec import Model

BUILTIN = "builtin:efficientnet_lite0"


class Keeping(Explainer):
    """Not to be shuffled: what it keeps are the maps of the model as it is."""

    def __init__(self, model: Model, method: Method) -> None:
        super().__init__(model, method)
        self._kept: dict[tuple[bytes, int], Heatmap] = {}

    def heatmaps(self, framed: Pixels, classes: Sequence[int]) -> list[Heatmap]:
        picture = framed.tobytes()
        missing = [each for each in classes if (picture, each) not in self._kept]
        if missing:
            found = super().heatmaps(framed, missing)
            self._kept.update(((picture, each), map_) for each, map_ in zip(missing, found, strict=True))
        return [self._kept[picture, each] for each in classes]


@cache
def explainer_of(model: Path, method: Method) -> Explainer:
    """Gradient methods explain the Keras model, the others the built-in INT8 one as it runs."""
    return of_builtin(method) if method in GRADIENT_FREE else Keeping(open_model(model), method)


@cache
def of_builtin(method: Method) -> Explainer:
    return Keeping(open_model(BUILTIN), method)
