"""What a clip shows, from what its frames show; a burst, from its photos."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from dropsight.records import Aggregate, Segment

EMA_SECONDS = 2.0
MOST_SEGMENTS = 32


def aggregate(
    times: NDArray[np.float64],
    probabilities: NDArray[np.float32],
    how: Aggregate = "top_k_mean",
    *,
    top_k_frames: int = 3,
) -> NDArray[np.float32]:
    """Merge probabilities of shape (n, classes) at `times`, ascending, in seconds, into (classes,).

    mean: of all frames, so that what shows for long wins. max: the best frame of each class. top_k_mean: the
    mean of each class's `top_k_frames` best frames: what shows for a moment is found, and one odd frame does
    not decide. vote: the share of frames in which a class is the best. ema: an exponential moving average
    with a time constant of 2 s, at its end: what shows last counts most.
    One frame's answer is its own probabilities, but by `vote`. Those of max and top_k_mean do not sum to 1:
    several things may show in turn, each surely.
    """
    merged: NDArray[np.floating]
    if how == "mean":
        merged = probabilities.mean(axis=0, dtype=np.float64)
    elif how == "max":
        merged = probabilities.max(axis=0)
    elif how == "vote":
        votes = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
        merged = votes / len(probabilities)
    elif how == "top_k_mean":
        others = len(probabilities) - min(top_k_frames, len(probabilities))
        merged = np.partition(probabilities, others, axis=0)[others:].mean(axis=0, dtype=np.float64)
    else:
        merged = _moving_average(times, probabilities)
    return merged.astype(np.float32)


def segments(
    timeline: Sequence[tuple[float, int, float]], duration: float, labels: Sequence[str] | Mapping[int, str]
) -> list[Segment]:
    """Return the longest stretches of one class, up to the next one's first frame."""
    runs = [list(run) for _, run in groupby(timeline, key=itemgetter(1))]
    ends = [run[0][0] for run in runs[1:]] + [max(duration, timeline[-1][0])]
    found = [
        Segment(labels[run[0][1]], run[0][0], end, max(each[2] for each in run))
        for run, end in zip(runs, ends, strict=True)
    ]
    return longest(found, MOST_SEGMENTS)


def longest(segments: Sequence[Segment], most: int) -> list[Segment]:
    """Return the longest of them, in the order of time."""
    found = sorted(segments, key=lambda each: each.begins - each.ends)[:most]
    return sorted(found, key=lambda each: each.begins)


def _moving_average(times: NDArray[np.float64], probabilities: NDArray[np.float32]) -> NDArray[np.floating]:
    average: NDArray[np.floating] = probabilities[0].astype(np.float64)
    kept = np.exp(-np.maximum(np.diff(times), 0) / EMA_SECONDS)
    for share, row in zip(kept, probabilities[1:], strict=True):
        average = share * average + (1 - share) * row
    return average
