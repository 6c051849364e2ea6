"""How well a way to prepare pictures fits a model, by its answers, and whether one is best for certain."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.inference.probing import Answers

Truth = NDArray[np.int64]  # a class for each photo
Shares = NDArray[np.float64]  # (candidates, photos, classes), each summing to 1

FEWEST = 8
"""Fewer photos than that tell nothing apart."""
_CERTAIN = 0.8
_DRAWS = 200
_LEAST_OF_ENTROPY = 0.2
_LEAST_LIKELY = 1e-4
_LEAST_STEADY = 0.5
_UNSTEADY = "the answers change with the view of a photo, even for the best"


class Fit(msgspec.Struct, frozen=True):
    """`sure` is the mean confidence, `steady` how many views agree with the original's answer.

    `right` is how many photos are, None where no classes are known; `score` is what it is ranked by.
    """

    sure: float
    steady: float
    right: int | None
    score: float


def fit_of(found: Answers, truth: Truth | None) -> Fit:
    first = found.argmax(axis=-1)
    shares = _shares([found], truth)
    return Fit(
        sure=float(found[:, 0].max(axis=-1).mean()),
        steady=_steady(found),
        right=None if truth is None else int((first[:, 0] == truth).sum()),
        score=float(_scores(shares, truth, np.full((1, len(found)), 1 / len(found)))[0, 0]),
    )


def _steady(found: Answers) -> float:
    first = found.argmax(axis=-1)
    return float((first[:, 1:] == first[:, :1]).mean())


def _shares(found: Sequence[Answers], truth: Truth | None) -> Shares:
    """Return the mean of the views, which are for where no classes are known: of those, the original's."""
    if truth is not None:
        return np.stack([each[:, 0].astype(np.float64) for each in found])
    return np.stack([each.mean(axis=1, dtype=np.float64) for each in found])


def doubt_of(ranked: Sequence[Answers], truth: Truth | None) -> tuple[str, int]:
    """Say why the first of these, the best first, need not be the right one, and which other may be.

    The text is empty, and the other 0, where the first is the best for 8 of 10 draws of as many photos,
    any of which may come up several times (the bootstrap).
    """
    shares = _shares(ranked, truth)
    _, photos, classes = shares.shape
    if photos < FEWEST:
        return f"{photos} photos are too few: give at least {FEWEST}", 0
    if truth is None:
        if len(set(ranked[0][:, 0].argmax(axis=-1))) < min(3, classes):
            return "nearly all photos get the same answer: give photos of different things", 0
        score = float(_scores(shares[:1], None, np.full((1, photos), 1 / photos))[0, 0])
        if score < _LEAST_OF_ENTROPY * np.log(min(photos, classes)):
            return "the answers hardly depend on the photo, however it is prepared", 0
        if _steady(ranked[0]) < _LEAST_STEADY:
            return f"{_UNSTEADY}: give them in folders named after their class", 0
    wins = _wins(shares, truth)
    if wins.min(initial=1.0) >= _CERTAIN:
        return "", 0
    text = f"these {photos} photos cannot tell them apart: give more, or in folders named after their class"
    return text, int(wins.argmin()) + 1


def _wins(shares: Shares, truth: Truth | None) -> NDArray[np.float64]:
    """Return for each but the first in how many draws, of all, the first is better."""
    photos = shares.shape[1]
    draws = np.random.default_rng(0).integers(0, photos, (_DRAWS, photos))
    weights = np.stack([np.bincount(draw, minlength=photos) for draw in draws]) / photos
    scores = _scores(shares, truth, weights)
    wins: NDArray[np.float64] = (scores[:, :1] > scores[:, 1:]).mean(axis=0)
    return wins


def _scores(shares: Shares, truth: Truth | None, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (draws, candidates); `weights` of the photos are (draws, photos).

    Where classes are known, the mean log-likelihood. Else the mutual information of photo and answer,
    I = H(mean p) - mean H(p) in nats, p being the mean over a photo's views (Bridle, Heading, MacKay 1991):
    large where the answers are sure, the same in all views, and others for other photos. Confidence alone
    prefers wrong inputs, on which a network saturates.
    """
    if truth is not None:
        likely = shares[:, np.arange(len(truth)), truth]
        known: NDArray[np.float64] = weights @ np.log(likely.clip(min=_LEAST_LIKELY)).T
        return known
    mean = np.einsum("dn,cnk->dck", weights, shares)
    information: NDArray[np.float64] = _entropy(mean) - weights @ _entropy(shares).T
    return information


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    entropy: NDArray[np.float64] = -(shares * np.log(shares.clip(min=1e-12))).sum(axis=-1)
    return entropy
