"""The views of a picture that test-time augmentation looks at."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dropsight.images.framing import Pixels

Turn: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]

VIEWS: dict[str, Turn] = {
    "original": lambda pixels: pixels,
    "horizontal_flip": lambda pixels: pixels[:, ::-1],
    "vertical_flip": lambda pixels: pixels[::-1],
    "rotate_90": np.rot90,
    "rotate_270": lambda pixels: np.rot90(pixels, 3),
}
"""By name, in their order; rotations are counter-clockwise."""


AS_IT_IS = ("original",)


def views(pixels: Pixels, names: Sequence[str]) -> list[Pixels]:
    """Return the named views, each contiguous; of a square picture all have its shape."""
    return [np.ascontiguousarray(VIEWS[name](pixels)) for name in names]
