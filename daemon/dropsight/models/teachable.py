"""Models that Teachable Machine exported, told by how it builds and names them."""

import re
from collections.abc import Iterable, Sequence

from dropsight.models.describing import Tool
from dropsight.records import Framing, Normalization

TEACHABLE_MACHINE = Tool("Teachable Machine", Normalization((127.5,), (127.5,)), Framing("crop", 1.0))
"""What its own page does to a picture: pixel / 127.5 - 1 of the whole central square."""

ENDING = ("softmax", "dense", "dense", "mean")
"""From the answer backwards: its second part is two dense layers, on the mean over a MobileNet's map."""

# Of a Sequential within a Sequential, trained in a browser: TensorFlow.js numbers its layers like this.
_INPUT = re.compile(r"(serving_default_)?sequential_\d+_input(:0)?")
_LAYER = re.compile(r"\bdense_Dense\d+")


def made_by_teachable_machine(
    names: Iterable[str], ending: Sequence[str], *, input_name: str | None = None
) -> bool:
    """Look at the names of a graph's tensors or operators, and at its input's where that keeps its own."""
    if tuple(ending[: len(ENDING)]) != ENDING:
        return False
    named = input_name is None or _INPUT.fullmatch(input_name)
    return bool(named) and any(map(_LAYER.search, names))
