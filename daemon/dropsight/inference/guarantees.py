"""Thresholds that keep a promise on pictures like those they were found on."""

from collections.abc import Callable
from math import ceil, lgamma, log, log1p

import msgspec
import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.floating]  # (n,), each from 0 to 1
CERTAINTY = 0.95
KNOWN = 0.98
"""So large a share of labelled photos stays an answer: one in fifty is called unknown."""
_STEPS = 50


class Selection(msgspec.Struct, frozen=True):
    """Answers from a confidence on: how many, which share of all, how many of them are right.

    `low` and `high` bound what is right of others like them, for certain in 95 of 100 cases.
    """

    threshold: float
    answered: int
    share: float
    precision: float
    low: float
    high: float


def confidence_for(confidence: Shares, right: NDArray[np.bool_], precision: float) -> Selection | None:
    """Return the least confidence from which on at least so many answers are right; None where there is none.

    The selective classifier of El-Yaniv and Wiener (2010): answers below a threshold are withheld. Equal
    confidences are answered together or not at all.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, hits = confidence[order], np.cumsum(right[order])
    counts = np.arange(1, len(sure) + 1)
    last_of_equals = np.append(sure[1:] != sure[:-1], True)
    fit = np.flatnonzero(last_of_equals & (hits >= precision * counts))
    if not len(fit):
        return None
    answered = int(counts[fit[-1]])
    low, high = binomial_bounds(int(hits[answered - 1]), answered)
    return Selection(
        float(sure[answered - 1]),
        answered,
        answered / len(sure),
        int(hits[answered - 1]) / answered,
        low,
        high,
    )


def binomial_bounds(successes: int, trials: int, certainty: float = CERTAINTY) -> tuple[float, float]:
    """Return the exact bounds of a share, of which so many of the trials succeeded (Clopper, Pearson 1934).

    low is the p of which so many successes or more have the probability (1 - certainty) / 2, high the p of
    which so many or fewer have it; found by bisection.
    """
    rare = (1 - certainty) / 2
    low = 0.0 if successes == 0 else _root(lambda share: _tail(successes, trials, share) - rare)
    if successes == trials:
        return low, 1.0
    return low, _root(lambda share: _tail(successes + 1, trials, share) - (1 - rare))


def known_up_to(flatness: Shares, share: float = KNOWN) -> float | None:
    """Return the flatness that at least this share of pictures like these stays below; None of too few.

    The ceil((n + 1) share)-th of n: see `least_in_set`.
    """
    place = ceil((len(flatness) + 1) * share)
    return float(np.sort(flatness)[place - 1]) if place <= len(flatness) else None


def least_in_set(of_truth: Shares, coverage: float) -> float | None:
    """Return from which probability on classes are in a set that holds the right one so often at least.

    Split conformal prediction (Papadopoulos et al. 2002; Vovk et al. 2005) by the probability of a class
    (Sadinle, Lei, Wasserman 2019): `of_truth` (n,) are those of the right classes; the
    ceil((n + 1) coverage)-th largest covers a new picture with at least this probability, whatever the
    model, if it is drawn as these were. None where they are too few for it.
    """
    place = ceil((len(of_truth) + 1) * coverage)
    return float(np.sort(of_truth)[len(of_truth) - place]) if place <= len(of_truth) else None


def set_sizes(probabilities: NDArray[np.floating], least: float) -> NDArray[np.int64]:
    """Return how many classes the set of each row (n, classes) holds: the best one always."""
    sizes: NDArray[np.int64] = np.maximum((probabilities >= least).sum(axis=1), 1)
    return sizes


def _tail(successes: int, trials: int, share: float) -> float:
    """Return the probability of so many successes or more."""
    counts = range(successes, trials + 1)
    chances = np.array([_log_choose(trials, count) for count in counts])
    numbers = np.array(counts, np.float64)
    return float(np.exp(chances + numbers * log(share) + (trials - numbers) * log1p(-share)).sum())


def _log_choose(trials: int, count: int) -> float:
    return lgamma(trials + 1) - lgamma(count + 1) - lgamma(trials - count + 1)


def _root(rising: Callable[[float], float]) -> float:
    """Return where a function that rises within 0 to 1 crosses 0."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
