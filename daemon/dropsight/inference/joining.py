"""Several squares of one picture, joined: the scores that stand for all of it."""

import numpy as np

from dropsight.inference.ranking import main_scores, softmax
from dropsight.models.spec import ModelSpec, Scores


def joined(scores: Scores, spec: ModelSpec, squares: int) -> Scores:
    """Return scores of shape (views, classes) for those of (squares x views, classes), by square.

    Each class has the largest of its probabilities in any square: what is in one of them is in the picture.
    Of classes that exclude each other, all are then divided by how much more they sum up to than a square's
    do on average, which is 1 but for integer models. They are scores as the model's own are, before any
    temperature. Of several heads it is the main one's.
    """
    main = main_scores(scores, spec)
    if squares == 1:
        return main
    apart = main.reshape(squares, len(main) // squares, main.shape[-1])
    if spec.multi_label:
        found: Scores = apart.max(axis=0)
        return found
    shares = softmax(apart) if spec.activation == "none" else apart
    largest = shares.max(axis=0)
    usual = shares.sum(axis=-1, dtype=np.float64).mean(axis=0)
    sums = largest.sum(axis=-1, dtype=np.float64)
    merged = largest * (usual / np.where(sums > 0, sums, 1))[:, np.newaxis]
    if spec.activation == "none":
        merged = np.log(np.maximum(merged, np.finfo(np.float32).tiny))
    scores_of_all: Scores = merged.astype(np.float32)
    return scores_of_all
