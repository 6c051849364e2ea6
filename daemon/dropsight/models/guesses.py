"""What nothing says of a model: if it is wrong, its answers are confident nonsense."""

import shlex

from dropsight.models.spec import ModelSpec

DEFAULT = "default"
SQUARE = "square"


def guess_of(spec: ModelSpec) -> str | None:
    """Say in one line which facts are guesses, with the way out; None where there are none.

    A model whose normalization is known is taken to want the usual order of colors and the usual frame.
    """
    probe = f"try the usual ones on your photos: dropsight inspect {shlex.quote(str(spec.path))} --photos DIR"
    ways_out = {}
    if spec.normalization_from == DEFAULT:
        ways_out["normalization"] = probe
        if spec.channels == 3 and spec.color_order_from == DEFAULT:
            ways_out["color order"] = probe
        if spec.framing_from == DEFAULT:
            ways_out["frame"] = probe
    if spec.layout_from == DEFAULT:
        ways_out["layout"] = "set model.layout"
    if spec.size_from in {DEFAULT, SQUARE}:
        ways_out["input size"] = "set model.input_size"
    if not ways_out:
        return None
    first, *others = ways_out
    also = f", as {'is' if len(others) == 1 else 'are'} {' and '.join(others)}" if others else ""
    return f"{first} is a guess{also}: nothing says what it is; {'; '.join(dict.fromkeys(ways_out.values()))}"
