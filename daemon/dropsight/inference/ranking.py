"""Scores to ranked predictions: probabilities, temperature, views merged, the best first."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dropsight.models.spec import ModelSpec, Scores
from dropsight.records import Prediction

Probabilities = NDArray[np.float32]  # (n, classes)

_LEAST = 1e-7


def probabilities(scores: Scores, spec: ModelSpec, temperature: float) -> Probabilities:
    """Return softmax(logits / T) of shape (n, classes), for T = `temperature` times the model's own.

    Models that end in softmax or logistic are taken at their word where T is 1: the probabilities of an
    INT8 model do not sum to 1, and dividing by their sum would invent confidence. For another T their
    logits are the log-probabilities; see `_zeros` for those of an integer output. Of classes that may be
    there at once each has the logistic of its own. Of several heads it is the main one's.
    """
    scores = main_scores(scores, spec)
    product = temperature * spec.temperature
    if spec.activation != "none" and product == 1:
        return scores
    logits = logits_of(scores, spec)
    if spec.activation == "logistic" or spec.multi_label:
        odds = np.exp(-logits.astype(np.float64) / product)
        likelihoods: Probabilities = (1 / (1 + odds)).astype(np.float32)
        return likelihoods
    return softmax(logits, product)


def main_scores(scores: Scores, spec: ModelSpec) -> Scores:
    """Leave out the columns of all heads but the first; the last axis is the classes.

    A lone score is made those of two classes: of a logit x (0, x), whose softmax is its logistic.
    """
    main = scores[..., spec.answer]
    if spec.activation == "softmax" or main.shape[-1] != 1:
        return main
    if spec.activation == "logistic":
        return np.concatenate([1 - main, main], axis=-1)
    return np.concatenate([np.zeros_like(main), main], axis=-1)


def logits_of(scores: Scores, spec: ModelSpec) -> NDArray[np.floating]:
    """Return what the model's last operator was given, as far as its scores still tell; same shape."""
    if spec.activation == "none":
        return scores
    if spec.activation == "softmax":
        return np.log(np.maximum(scores, _zeros(scores, spec.output.scale)))
    floor = max(spec.output.scale / 2, _LEAST)
    bounded = np.clip(scores, floor, 1 - floor)
    return np.log(bounded) - np.log1p(-bounded)


def _zeros(scores: Scores, scale: float) -> NDArray[np.float32]:
    """Return what a zero stands for, of shape (n, 1).

    An integer output shows everything below half its step as zero. What the others leave of 1 is shared
    among the zeros, half a step each at most: half a step for each of 1,000 classes would add up to 2.
    """
    zeros = np.maximum((scores <= 0).sum(axis=1, keepdims=True), 1)
    shares = (1 - scores.sum(axis=1, keepdims=True)) / zeros
    bounded: NDArray[np.float32] = np.clip(shares, _LEAST, max(scale / 2, _LEAST)).astype(np.float32)
    return bounded


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Probabilities:
    """exp(x / T) / sum exp(x / T) along the last axis, shifted first: so the largest is 0, whatever T is."""
    shifted = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)
    powers = np.exp(shifted.astype(np.float64) / temperature)
    sums = np.add.reduce(powers, axis=-1, keepdims=True)
    normalised: Probabilities = (powers / sums).astype(np.float32)
    return normalised


def merge(views: Probabilities) -> NDArray[np.float32]:
    """Return the mean over the views, of shape (classes,)."""
    merged: NDArray[np.float32] = views[0] if len(views) == 1 else views.mean(axis=0, dtype=np.float32)
    return merged


def predictions(merged: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """Rank the best first; the lower class index first among equals, which INT8 has often.

    Classes that come to 0 are left out, but for the best: an INT8 model gives most of them nothing.
    """
    order = (-merged).argsort(kind="stable")[:top_k]
    best, *others = [
        Prediction(place, labels[place], round(confidence, 6))
        for place, confidence in zip(order.tolist(), merged[order].tolist(), strict=True)
    ]
    return [best, *[each for each in others if each.confidence > 0]]


def present(merged: NDArray[np.float32], spec: ModelSpec) -> list[Prediction]:
    """Return the classes that reach their thresholds, ranked as `predictions` are, however many they are."""
    order = np.argsort(-merged, kind="stable")
    least = np.asarray(spec.thresholds, np.float32)
    return [_prediction(merged, spec.labels, int(place)) for place in order if merged[place] >= least[place]]


def _prediction(merged: NDArray[np.float32], labels: Sequence[str], place: int) -> Prediction:
    return Prediction(place, labels[place], round(float(merged[place]), 6))
