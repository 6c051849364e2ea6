"""A map over the model's input, and how it is laid over a picture."""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight.errors import DropsightError
from dropsight.images.framing import Pixels

Heatmap: TypeAlias = NDArray[np.float32]  # (height, width), 0 to 1
Raw: TypeAlias = NDArray[np.floating]


def normalized(raw: Raw, *, height: int, width: int) -> Heatmap:
    """Cut off below 0, stretch the rest to 0..1, enlarge smoothly; all zeros stay zeros."""
    positive = np.maximum(np.nan_to_num(raw).astype(np.float32), 0)
    largest = float(positive.max(initial=0.0))
    if largest > 0:
        positive /= largest
    if positive.shape != (height, width):
        positive = cv2.resize(positive, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.clip(positive, 0, 1).astype(np.float32)


def coloured(heatmap: Heatmap, colormap: str) -> Pixels:
    """Return (height, width, 3) RGB; the name is one of OpenCV's or, if that is installed, matplotlib's."""
    code = getattr(cv2, f"COLORMAP_{colormap.upper()}", None)
    levels = np.round(heatmap * 255).astype(np.uint8)
    if code is not None:
        return cv2.cvtColor(cv2.applyColorMap(levels, code), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    try:
        from matplotlib import colormaps

        table = colormaps[colormap]
    except (ImportError, KeyError) as error:
        raise DropsightError(
            f"no colormap {colormap}; OpenCV has jet, viridis, turbo, ..., matplotlib more"
        ) from error
    return np.round(np.asarray(table(levels))[:, :, :3] * 255).astype(np.uint8)


def overlay(pixels: Pixels, heatmap: Heatmap, *, alpha: float = 0.4, colormap: str = "jet") -> Pixels:
    """Lay the heatmap over the picture; `alpha` is its share. Of the picture's shape."""
    if not 0 <= alpha <= 1:
        raise ValueError("alpha must lie between 0 and 1")
    height, width = pixels.shape[:2]
    colours = coloured(normalized(heatmap, height=height, width=width), colormap)
    mixed = colours.astype(np.float32) * alpha + pixels.astype(np.float32) * (1 - alpha)
    return np.round(mixed).astype(np.uint8)
