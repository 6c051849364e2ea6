"""How far a model's confidence can be trusted, and the temperature that mends it."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.inference.ranking import softmax

Logits = NDArray[np.floating]  # (n, classes)
Classes = NDArray[np.int64]  # (n,)

BINS = 15
LOWEST, HIGHEST = 0.05, 20.0
_GOLDEN = (5**0.5 - 1) / 2


class Bin(msgspec.Struct, frozen=True):
    """Images whose confidence lies within (low, high]: how many, how sure, how right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class CalibrationMetrics(msgspec.Struct, frozen=True):
    """How well probabilities fit the truth; lower is better in all three.

    nll: mean negative log-likelihood. ece: expected calibration error over 15 bins (Guo et al. 2017,
    eq. 3). brier: mean squared distance of the probabilities from the truth (Brier 1950).
    """

    temperature: float
    nll: float
    ece: float
    brier: float
    bins: tuple[Bin, ...]


def nll(logits: Logits, truth: Classes, temperature: float) -> float:
    """-mean log softmax(logits / T)[truth], computed by log-sum-exp."""
    scaled = np.asarray(logits, np.float64) / temperature
    highest = scaled.max(axis=1)
    normaliser = highest + np.log(np.exp(scaled - highest[:, np.newaxis]).sum(axis=1))
    return float((normaliser - scaled[np.arange(len(truth)), truth]).mean())


def fit_temperature(logits: Logits, truth: Classes) -> float:
    """Return the T within 0.05 to 20 of least NLL (Guo et al. 2017), by golden-section search on log T.

    The NLL is convex in 1/T, so it has one valley in log T. Raises ValueError for no images.
    """
    if len(truth) == 0:
        raise ValueError("no images to fit a temperature to")
    low, high = np.log(LOWEST), np.log(HIGHEST)
    while high - low > 1e-4:
        inner_low, inner_high = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if nll(logits, truth, np.exp(inner_low)) < nll(logits, truth, np.exp(inner_high)):
            high = inner_high
        else:
            low = inner_low
    return float(np.exp((low + high) / 2))


def trust(logits: Logits, truth: Classes, temperature: float) -> CalibrationMetrics:
    """Measure the probabilities softmax(logits / T) against the truth."""
    probabilities = softmax(np.asarray(logits, np.float64) / temperature).astype(np.float64)
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    bins = _bins(confidence, right)
    distance = (probabilities**2).sum(axis=1) - 2 * probabilities[np.arange(len(truth)), truth] + 1
    return CalibrationMetrics(
        temperature=temperature,
        nll=nll(logits, truth, temperature),
        ece=_gap(bins),
        brier=float(distance.mean()),
        bins=bins,
    )


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the ECE of answers (n,), whose confidence need not be a softmax's, as a clip's is not."""
    within = np.clip(confidence, np.finfo(np.float64).tiny, 1.0)
    return _gap(_bins(within, right.astype(np.float64)))


def _bins(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[Bin, ...]:
    return tuple(_bin(number, confidence, right) for number in range(BINS))


def _gap(bins: tuple[Bin, ...]) -> float:
    gaps = sum(each.count * abs(each.accuracy - each.confidence) for each in bins)
    return float(gaps / sum(each.count for each in bins))


def _bin(number: int, confidence: NDArray[np.float64], right: NDArray[np.float64]) -> Bin:
    low, high = number / BINS, (number + 1) / BINS
    inside = (confidence > low) & (confidence <= high)
    count = int(inside.sum())
    if count == 0:
        return Bin(low, high, 0, 0.0, 0.0)
    return Bin(low, high, count, float(confidence[inside].mean()), float(right[inside].mean()))
