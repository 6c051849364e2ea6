"""Features of a picture: what a model's last layer with weights is given, pooled: an embedding."""

import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ConfigError
from dropsight.models.spec import Model, Scores

Features: TypeAlias = NDArray[np.float32]
"""(features,), of several views their mean."""
NO_LAST_LAYER = "its answer does not come from a dense layer or a convolution"
NO_LAYER_BEFORE = "no other layer with weights is before the one that classifies"


def pooled(values: NDArray[np.floating], batch: int, *, channels: int = -1) -> Scores:
    """Return (batch, features): of maps, or of several places, the mean of each channel."""
    if values.ndim > 2:
        values = np.moveaxis(values, channels, -1)
    last = values.shape[-1] if values.ndim > 2 else math.prod(values.shape) // batch
    found: Scores = values.reshape(batch, -1, last).mean(axis=1, dtype=np.float32)
    return found


def count_features(model: Model) -> int:
    """Return how many stand behind the scores, by trying."""
    spec = model.spec
    scores = model.scores(np.zeros((1, *spec.input.shape[1:]), spec.input.dtype))
    return int(scores.shape[1]) - spec.columns


def no_features(path: Path, why: str) -> ConfigError:
    return ConfigError([f"{path}: this model gives no embeddings: {why}"])
