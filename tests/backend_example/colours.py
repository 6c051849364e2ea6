"""A backend in a package of its own: which of the colours in a text file an image is nearest to.

COLOURS 8 8
red 255 0 0
green 0 255 0
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np

from dropsight.errors import ModelError
from dropsight.models.describing import ModelOverrides, OwnFacts, describe
from dropsight.models.registry import Backend
from dropsight.models.spec import Batch, ModelOptions, ModelSpec, Scores, TensorSpec

BACKEND = Backend(detector="colours:is_colours", opener="colours:open_colours")


def is_colours(_: Path, head: bytes) -> bool:
    return head.startswith(b"COLOURS ")


def open_colours(
    path: Path,
    *,
    said: ModelOverrides,
    options: ModelOptions,  # noqa: ARG001 - it has no threads
    agree: Callable[[], None],
) -> "Colours":
    content = path.read_bytes()
    agree()
    try:
        first, *lines = content.decode().splitlines()
        height, width = map(int, first.split()[1:])
        names = [line.partition(" ")[0] for line in lines]
        means = np.array([line.split()[1:] for line in lines], np.float32).reshape(-1, 3)
    except ValueError as error:
        raise ModelError(f"{path}: {error}; a line is a name, red, green and blue") from error
    tensor = TensorSpec("image", (-1, height, width, 3), np.dtype(np.float32))
    facts = describe(
        path, said, tensor=tensor, classes=len(names), own=OwnFacts(labels="\n".join(names))
    )  # labels, normalization and temperature: from the config, the model or its sidecar
    spec = ModelSpec(
        name=path.stem,
        path=path,
        format="colours",  # as the entry point is named
        backend="colours",
        quantization="float32",
        digest=f"sha256:{sha256(content).hexdigest()}",
        input=tensor,
        output=TensorSpec("nearness", (-1, len(names)), np.dtype(np.float32)),
        activation="none",
        labels=facts.labels,
        labels_from=facts.labels_from,
        normalization=facts.normalization,
        normalization_from=facts.normalization_from,
        temperature=facts.temperature,
        golden=facts.golden,
        layout=facts.layout,
        layout_from=facts.layout_from,
    )
    return Colours(spec, means)


class Colours:
    """NumPy answers any number of threads at once: one is enough for all."""

    shared = True

    def __init__(self, spec: ModelSpec, means: Scores) -> None:
        self.spec, self._means = spec, means

    def scores(self, batch: Batch) -> Scores:
        """Return (n, classes) logits: less, the further away."""
        images: Scores = batch.astype(np.float32)
        means = images.mean(axis=(1, 2))[:, np.newaxis] * 255
        scores: Scores = -np.abs(means - self._means).sum(axis=2) / 10
        return scores

    def replicate(self, *, threads: int | None = None) -> "Colours":  # noqa: ARG002
        return self
