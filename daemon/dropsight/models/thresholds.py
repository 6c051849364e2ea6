"""From which probability on each class is there, where several classes may be there at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dropsight.errors import ModelError
from dropsight.models.labels import class_named, nearest_name, numbers_by_name
from dropsight.models.outputs import Output

USUAL = 0.5
ALL_OTHERS = "*"

Thresholds = tuple[float, ...]
"""One for each class; none where the classes exclude each other."""


def thresholds_of(
    path: Path, wanted: Mapping[str, float], answers: Sequence[tuple[Output, Sequence[str]]]
) -> tuple[list[Thresholds], tuple[str, ...]]:
    """Return those of each answer, given with its labels, and what of the wanted ones has no effect.

    Classes are wanted by label or number. Where an answer has no activation, only thresholds tell that its
    classes do not exclude each other. Raises ModelError for a class that there is not.
    """
    names = [(name, threshold) for name, threshold in wanted.items() if name != ALL_OTHERS]
    usual = wanted.get(ALL_OTHERS, USUAL)
    found: list[Thresholds] = []
    unknown, without_effect = {name for name, _ in names}, bool(wanted)
    for output, labels in answers:
        numbers = numbers_by_name(labels)
        mine = {name: class_named(name, numbers, len(labels)) for name, _ in names}
        unknown -= {name for name, number in mine.items() if number is not None}
        said = any(number is not None for number in mine.values()) or (bool(wanted) and len(answers) == 1)
        if not _several_at_once(output, said=said):
            found.append(())
            continue
        without_effect = False
        least = {mine[name]: threshold for name, threshold in names}
        found.append(tuple(least.get(number, usual) for number in range(len(labels))))
    if unknown:
        raise ModelError(f"{path}: thresholds: {_unknown(min(unknown), answers)}")
    text = "thresholds: no effect, because its classes exclude each other"
    return found, (text,) if without_effect else ()


def _several_at_once(output: Output, *, said: bool) -> bool:
    if output.columns == 1:
        return False
    return output.activation == "logistic" or (output.activation == "none" and said)


def _unknown(name: str, answers: Sequence[tuple[Output, Sequence[str]]]) -> str:
    known = [label for _, labels in answers for label in labels]
    meant = nearest_name(name, known)
    way_out = f"did you mean {meant}?" if meant else "give a label, a number, or * for all others"
    return f"the model has no class {name}; {way_out}"
