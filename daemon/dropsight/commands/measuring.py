"""Scores of labelled photos, for `calibrate` and `evaluate`."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropsight.errors import ConfigError, ImageError
from dropsight.inference.labelled import labelled
from dropsight.inference.runtime import ImageInferenceRuntime

LABELLED = "with a sub-folder of photos for each class"


@dataclass(frozen=True, slots=True)
class Measured:
    """`scores` (n, classes) float32, `truth` (n,): the photos that could be read, in order."""

    scores: NDArray[np.float32]
    truth: NDArray[np.int64]


def measure(runtime: ImageInferenceRuntime, folder: Path) -> Measured:
    """Score every photo; what cannot be read is named on stderr; raises ConfigError if nothing can."""
    photos = labelled(folder, runtime.spec.labels)
    scores: list[NDArray[np.float32]] = []
    truth: list[int] = []
    found = runtime.scores([photo.path for photo in photos], show_progress=sys.stderr.isatty())
    for photo, (_, outcome) in zip(photos, found, strict=True):
        if isinstance(outcome, ImageError):
            print(f"dropsight: {photo.path}: {outcome}", file=sys.stderr)
        else:
            scores.append(outcome)
            truth.append(photo.class_index)
    if not scores:
        raise ConfigError([f"{folder}: none of its {len(photos)} photos can be read"])
    return Measured(np.stack(scores), np.array(truth, np.int64))
