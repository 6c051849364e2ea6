"""A map over the model's input, and how it is laid over a picture."""

from difflib import get_close_matches
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight import installing
from dropsight.errors import DropsightError
from dropsight.images.framing import Pixels

Heatmap: TypeAlias = NDArray[np.float32]  # (height, width), 0 to 1
Colormap: TypeAlias = str | int
"""A name of OpenCV's or matplotlib's, or OpenCV's number, such as cv2.COLORMAP_JET."""
Raw: TypeAlias = NDArray[np.floating]


def normalized(raw: Raw, *, height: int, width: int) -> Heatmap:
    """Cut off below 0, stretch the rest to 0..1, enlarge smoothly; all zeros stay zeros."""
    positive = np.maximum(np.nan_to_num(raw).astype(np.float32), 0)
    largest = float(positive.max(initial=0.0))
    if largest > 0:
        positive /= largest
    return _resized(positive, height=height, width=width)


def coloured(heatmap: Heatmap, colormap: Colormap) -> Pixels:
    """Return (height, width, 3) RGB; raises DropsightError for a colormap that neither library has."""
    code = colormap if isinstance(colormap, int) else getattr(cv2, f"COLORMAP_{colormap.upper()}", None)
    if code is None:
        return _by_matplotlib(heatmap, str(colormap))
    levels = np.round(heatmap * 255).astype(np.uint8)
    try:
        return cv2.cvtColor(cv2.applyColorMap(levels, code), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    except cv2.error as error:
        raise DropsightError(f"no colormap {colormap} in OpenCV") from error


def overlay(pixels: Pixels, heatmap: Heatmap, *, alpha: float = 0.4, colormap: Colormap = "jet") -> Pixels:
    """Lay the heatmap over the picture; `alpha` is its share. Of the picture's shape."""
    if not 0 <= alpha <= 1:
        raise ValueError("alpha must lie between 0 and 1")
    height, width = pixels.shape[:2]
    colours = coloured(_resized(heatmap, height=height, width=width), colormap)
    mixed = colours.astype(np.float32) * alpha + pixels.astype(np.float32) * (1 - alpha)
    return np.round(mixed).astype(np.uint8)


def _by_matplotlib(heatmap: Heatmap, name: str) -> Pixels:
    try:
        from matplotlib import colormaps
    except ImportError as error:
        raise DropsightError(
            f"no colormap {name} in OpenCV; matplotlib, which has more: {installing.with_extra('explain')}"
        ) from error
    if name not in colormaps:
        near = get_close_matches(name, colormaps, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; there are jet, viridis, turbo and many others"
        raise DropsightError(f"no colormap {name} in OpenCV or matplotlib{hint}")
    return np.round(np.asarray(colormaps[name](heatmap))[:, :, :3] * 255).astype(np.uint8)


def _resized(heatmap: Heatmap, *, height: int, width: int) -> Heatmap:
    if heatmap.shape != (height, width):
        heatmap = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.clip(heatmap, 0, 1).astype(np.float32)
