"""How well a way to prepare pictures fits a model, by its answers, and whether one is best for certain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dropsight.inference.probing import Answers

Truth = NDArray[np.int64]  # a class for each photo
Merged = NDArray[np.float64]  # (candidates, photos, classes), each summing to 1

FEWEST = 8
"""Fewer photos than that tell nothing apart."""
_CERTAIN = 0.8
_DRAWS = 200
_LEAST_OF_ENTROPY = 0.2
_LEAST_LIKELY = 1e-4


@dataclass(frozen=True, slots=True)
class Fit:
    """`sure` is the mean confidence, `steady` how many views agree with the original's answer.

    `right` is how many photos are, None where no classes are known; `score` is what it is ranked by.
    """

    sure: float
    steady: float
    right: int | None
    score: float


def fit_of(found: Answers, truth: Truth | None) -> Fit:
    first = found.argmax(axis=-1)
    merged = found.mean(axis=1, dtype=np.float64)[np.newaxis]
    return Fit(
        sure=float(found[:, 0].max(axis=-1).mean()),
        steady=float((first[:, 1:] == first[:, :1]).mean()),
        right=None if truth is None else int((first[:, 0] == truth).sum()),
        score=float(_scores(merged, truth, np.full((1, len(found)), 1 / len(found)))[0, 0]),
    )


def doubt_of(ranked: Sequence[Answers], truth: Truth | None) -> tuple[str, int]:
    """Say why the first of these, the best first, need not be the right one, and which other may be.

    The text is empty, and the other 0, where the first is the best for 8 of 10 draws of as many photos,
    any of which may come up several times (the bootstrap).
    """
    merged = np.stack([each.mean(axis=1, dtype=np.float64) for each in ranked])
    _, photos, classes = merged.shape
    if photos < FEWEST:
        return f"{photos} photos are too few: give at least {FEWEST}", 0
    if truth is None:
        if len(set(ranked[0][:, 0].argmax(axis=-1))) < min(3, classes):
            return "nearly all photos get the same answer: give photos of different things", 0
        score = float(_scores(merged[:1], None, np.full((1, photos), 1 / photos))[0, 0])
        if score < _LEAST_OF_ENTROPY * np.log(min(photos, classes)):
            return "the answers hardly depend on the photo, however it is prepared", 0
    wins = _wins(merged, truth)
    if wins.min(initial=1.0) >= _CERTAIN:
        return "", 0
    text = f"these {photos} photos cannot tell them apart: give more, or in folders named after their class"
    return text, int(wins.argmin()) + 1


def _wins(merged: Merged, truth: Truth | None) -> NDArray[np.float64]:
    """Return for each but the first in how many draws, of all, the first is better."""
    photos = merged.shape[1]
    draws = np.random.default_rng(0).integers(0, photos, (_DRAWS, photos))
    weights = np.stack([np.bincount(draw, minlength=photos) for draw in draws]) / photos
    scores = _scores(merged, truth, weights)
    wins: NDArray[np.float64] = (scores[:, :1] > scores[:, 1:]).mean(axis=0)
    return wins


def _scores(merged: Merged, truth: Truth | None, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (draws, candidates); `weights` of the photos are (draws, photos).

    Where classes are known, the mean log-likelihood. Else the mutual information of photo and answer,
    I = H(mean p) - mean H(p) in nats, p being the mean over a photo's views (Bridle, Heading, MacKay 1991):
    large where the answers are sure, the same in all views, and others for other photos. Confidence alone
    prefers wrong inputs, on which a network saturates.
    """
    if truth is not None:
        likely = merged[:, np.arange(len(truth)), truth]
        known: NDArray[np.float64] = weights @ np.log(likely.clip(min=_LEAST_LIKELY)).T
        return known
    mean = np.einsum("dn,cnk->dck", weights, merged)
    information: NDArray[np.float64] = _entropy(mean) - weights @ _entropy(merged).T
    return information


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    entropy: NDArray[np.float64] = -(shares * np.log(shares.clip(min=1e-12))).sum(axis=-1)
    return entropy
