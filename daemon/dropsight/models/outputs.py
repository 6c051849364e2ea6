"""Which of a model's outputs are its answer: the only one, one that the user names, or several heads."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from dropsight.config import Head
from dropsight.errors import ModelError
from dropsight.models.labels import MOST_CLASSES
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import NamedOutput, Sidecar, beside, sidecar_path
from dropsight.models.spec import Activation, Batch, Scores, TensorSpec, classes_in
from dropsight.names import as_shown

LONGEST_NAME = 255

# What backbones end in: MobileNet, EfficientNet, ResNet, transformers.
_FEATURES = {256, 384, 512, 576, 768, 960, 1024, 1280, 1408, 1536, 1792, 2048, 2304, 2560}
_LEAST_FEATURES = 256
_MOST_LISTED = 12
_IMAGENET = {1000, 1001}


class Output(msgspec.Struct, frozen=True):
    """`names`: by which it can be asked for, the best first."""

    tensor: TensorSpec
    activation: Activation
    names: tuple[str, ...] = ()

    @property
    def columns(self) -> int:
        """How many numbers it gives for an image."""
        return classes_in(self.tensor)

    @property
    def classes(self) -> int:
        """A lone score, logistic or before it, is that of the second of two classes."""
        return 2 if self.columns == 1 and self.activation != "softmax" else self.columns


class Chosen(msgspec.Struct, frozen=True):
    """An output that is used: `name` is the head's; `labels` names the file of its own labels."""

    number: int
    output: Output
    name: str = ""
    labels: Path | None = None


def choose(
    path: Path, said: ModelOverrides, sidecar: Sidecar, outputs: Sequence[Output]
) -> tuple[Chosen, ...]:
    """Return the outputs that are used, the main answer first; raises ModelError where that is not clear."""
    if said.heads:
        chosen = _heads(path, said.heads, "model.heads", outputs)
    elif said.output is not None:
        chosen = (Chosen(*_find(path, said.output, "model.output", outputs)),)
    elif sidecar.heads:
        named = {name: _of_sidecar(head, path) for name, head in sidecar.heads.items()}
        chosen = _heads(path, named, f"{sidecar_path(path)}: heads", outputs)
    elif sidecar.output is not None:
        chosen = (Chosen(*_find(path, sidecar.output, f"{sidecar_path(path)}: output", outputs)),)
    elif len(outputs) == 1:
        chosen = (Chosen(0, outputs[0]),)
    else:
        raise ModelError(_which(path, outputs))
    for each in chosen:
        _check(path, each, outputs)
    if (count := sum(each.output.columns for each in chosen)) > MOST_CLASSES:
        raise ModelError(
            f"{path}: not an image classifier: it answers with {count:,} numbers, more than {MOST_CLASSES:,}"
        )
    return chosen


def in_own_batches(batch: Batch, size: int, run: Callable[[Batch], Scores]) -> Scores:
    """Run what takes `size` images at once, -1 being any number; the last image fills up what lacks."""
    count = len(batch)
    if size in {-1, count}:
        return run(batch)
    full = np.concatenate([batch, np.repeat(batch[-1:], -count % size, axis=0)])
    return np.concatenate([run(full[at : at + size]) for at in range(0, len(full), size)])[:count]


def joined(answers: Sequence[Scores]) -> Scores:
    """Put those of several heads beside each other."""
    return answers[0] if len(answers) == 1 else np.concatenate(answers, axis=1)


def _of_sidecar(head: NamedOutput | str | int, path: Path) -> Head:
    if not isinstance(head, NamedOutput):
        return Head(head)
    return Head(head.output, beside(path, head.labels) if head.labels else None)


def _heads(
    path: Path, heads: Mapping[str, Head], where: str, outputs: Sequence[Output]
) -> tuple[Chosen, ...]:
    if odd := [name for name in heads if as_shown(name) != name or not 0 < len(name) <= LONGEST_NAME]:
        name = f"{where}: {as_shown(odd[0])[:LONGEST_NAME]!r}"
        raise ModelError(f"{path}: {name} is no name for a head: 1 to {LONGEST_NAME} printable characters")
    return tuple(
        Chosen(*_find(path, head.output, f"{where}.{name}", outputs), name, head.labels)
        for name, head in heads.items()
    )


def _find(path: Path, wanted: str | int, where: str, outputs: Sequence[Output]) -> tuple[int, Output]:
    for number, output in enumerate(outputs):
        if wanted == number or wanted in output.names:
            return number, output
    raise ModelError(f"{path}: {where}: it has no output {wanted}, but {_listed(outputs)}")


def _which(path: Path, outputs: Sequence[Output]) -> str:
    if _is_detector(outputs):
        return (
            f"{path}: not an image classifier, but an object detector (boxes, and what is in them): "
            "give a model that answers with one class for the whole image"
        )
    return (
        f"{path}: it has several outputs: {_listed(outputs)}; say which in {sidecar_path(path)} or below "
        "model in the config: `output: 0`, or for several in a record `heads: {species: 0, sex: 1}`"
    )


def _is_detector(outputs: Sequence[Output]) -> bool:
    """Whether two tell of the same places: their boxes, and what is in them."""
    rows = [output.tensor.shape[1:] for output in outputs if len(output.tensor.shape) in {2, 3}]
    boxes = [shape for shape in rows if len(shape) == 2 and min(shape) > 1]
    return any(other is not box and other[0] == box[0] for box in boxes for other in rows)


def _listed(outputs: Sequence[Output]) -> str:
    told = [f"{number} {_described(output)}" for number, output in enumerate(outputs[:_MOST_LISTED])]
    return "; ".join([*told, *(["and more"] if len(outputs) > _MOST_LISTED else [])])


def _described(output: Output) -> str:
    name = f"{output.names[0]} " if output.names else ""
    return f"{name}{list(output.tensor.shape)} ({likeness(output)})"


def refuse_embedding(path: Path, output: Output) -> None:
    """Raise ModelError for what, without labels, looks like the features of a picture rather than classes."""
    count, shape = output.columns, output.tensor.shape
    as_map = len(shape) == 4 and count >= _LEAST_FEATURES
    if output.activation == "none" and count not in _IMAGENET and (as_map or count in _FEATURES):
        raise ModelError(
            f"{path}: not an image classifier: it looks like an embedding model: {count} numbers "
            "without an activation, and no labels; if these are classes, give their names in model.labels "
            "or in labels.txt beside the model"
        )


def likeness(output: Output) -> str:
    """Say what an output looks like, by its shape and the operator that it comes from."""
    shape, count = output.tensor.shape, classes_in(output.tensor)
    if -1 in shape[1:]:
        return "of a size that is not fixed"
    if sum(size > 1 for size in shape[1:]) <= 1:
        return _list_of(count, output.activation)
    if len(shape) == 4 and (min(shape[1:3]) > 1 or min(shape[2:]) > 1 < shape[1]):
        return "an answer for each place of the image, as segmentation, depth and heat maps have it"
    if len(shape) in {3, 4}:
        return "rows of numbers, as object detectors (YOLO) and pose models have them"
    return "no list of classes"


def _list_of(count: int, activation: Activation) -> str:
    several = "" if count == 1 else "s"
    match activation:
        case "softmax":
            return f"{count} classes, after softmax"
        case "logistic":
            return f"{count} score{several}, {'each ' if several else ''}after a sigmoid"
        case "none":
            return f"{count} number{several} without an activation: scores, an embedding or a measure"


def _check(path: Path, chosen: Chosen, outputs: Sequence[Output]) -> None:
    shape = chosen.output.tensor.shape
    if shape and 0 not in shape and -1 not in shape[1:] and sum(size > 1 for size in shape[1:]) <= 1:
        return
    of = f" of output {chosen.number}" if len(outputs) > 1 else ""
    raise ModelError(
        f"{path}: not an image classifier: its output is {list(shape)}{of}, not [batch, classes]: "
        f"{likeness(chosen.output)}"
    )
