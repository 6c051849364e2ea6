"""Where the names of a model's classes come from: the config, its metadata, its sidecar, a file beside it."""

import json
from pathlib import Path

import msgspec

from dropsight.bounded import LABELS_BYTES, read_bounded
from dropsight.errors import ModelError
from dropsight.models.labels import BACKGROUND, decoded, read_groups, read_labels
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import Sidecar, beside, sidecar_path

BESIDE = (
    *("labels.txt", "labels_1001.txt", "labelmap.txt", "label_map.txt", "classes.txt", "class_names.txt"),
    *("labels.json", "classes.json", "class_names.json", "class_indices.json"),
    *("label_map.pbtxt", "labelmap.pbtxt", "labels.csv", "classes.csv", "{model}_labels.txt", "dict.txt"),
)
"""What is looked for beside a model, whose own name stands for {model}; the number of names decides.

dict.txt is what AutoML Vision writes.
"""

IMAGENET = "builtin:imagenet"
"""What stands for the names that come along."""

_WITH_BACKGROUND = 1001


class FoundLabels(msgspec.Struct, frozen=True):
    """`faults` say which files beside the model were passed over; `groups` are one a class, "" for none."""

    names: tuple[str, ...]
    source: str
    groups: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def find_labels(
    path: Path, said: ModelOverrides, sidecar: Sidecar, classes: int, metadata: str | None
) -> FoundLabels:
    """Raise ModelError where they are named, or in labels.txt, and do not fit the classes."""
    if said.labels is not None:
        return _in_file(said.labels, classes)
    if metadata is not None:
        return FoundLabels(_fitting(metadata, classes, f"{path} (metadata)"), "metadata")
    if sidecar.labels:
        return _in_file(beside(path, sidecar.labels), classes)
    return _beside(path, classes)


def labels_in(file: Path, classes: int) -> tuple[str, ...]:
    """Read a file of so many names, or those that IMAGENET stands for; raises ModelError."""
    return _in_file(file, classes).names


def _in_file(file: Path, classes: int) -> FoundLabels:
    if file.name == IMAGENET:
        return FoundLabels(_of_imagenet(classes), str(file))
    text = _text(file)
    names = _fitting(text, classes, str(file))
    return FoundLabels(names, str(file), read_groups(text))


def unnamed(classes: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(classes))


def _beside(path: Path, classes: int) -> FoundLabels:
    """Take the file whose names are as many as the classes, if there is but one such list of names."""
    fitting: dict[tuple[str, ...], FoundLabels] = {}
    misfits: dict[Path, ModelError] = {}
    places = (path.parent, path, path / "assets") if path.is_dir() else (path.parent,)
    files = (place / name.format(model=path.stem) for place in places for name in BESIDE)
    for file in filter(Path.is_file, files):
        try:
            found = _in_file(file, classes)
            fitting.setdefault(found.names, found)
        except ModelError as error:
            misfits[file] = error
    way_out = f"name this model's in model.labels or in {sidecar_path(path)}"
    if len(fitting) > 1:
        listed = " and ".join(found.source for found in fitting.values())
        raise ModelError(f"labels {listed}: each has {classes} names, and they differ; {way_out}")
    if fitting:
        (only,) = fitting.values()
        return only
    if first := misfits.get(path.parent / BESIDE[0]):
        raise ModelError(f"{first}; if they are another model's, {way_out}") from first
    passed_over = tuple(f"{error}: not used" for error in misfits.values())
    if classes == _WITH_BACKGROUND:
        return FoundLabels(_of_imagenet(classes), IMAGENET, faults=passed_over)
    return FoundLabels(unnamed(classes), "default", faults=passed_over)


def _of_imagenet(classes: int) -> tuple[str, ...]:
    """Return ImageNet's 1,000 names, after that of the background where there are 1,001."""
    names = imagenet_names()
    if classes not in {len(names), len(names) + 1}:
        raise ModelError(f"labels {IMAGENET}: for models of 1,000 or 1,001 classes, not of {classes}")
    return names if classes == len(names) else (BACKGROUND, *names)


def imagenet_names() -> tuple[str, ...]:
    return read_labels(_text(Path(__file__).parent / "builtin" / "imagenet_labels.txt"))


def _text(file: Path) -> str:
    try:
        return decoded(read_bounded(file, LABELS_BYTES))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        ours = isinstance(error, FileNotFoundError) and "imagenet" in file.name.lower()
        hint = f"; ImageNet's own come with dropsight: {IMAGENET}" if ours else ""
        raise ModelError(f"labels {file}: cannot be read: {reason}{hint}") from error


def _fault_of_json(text: str) -> str:
    """Say why what begins as JSON was read as lines."""
    if not text.lstrip().startswith(("[", "{")):
        return ""
    try:
        json.loads(text)
    except ValueError as error:
        return f"; it begins as JSON, but is none ({error})"
    except RecursionError:
        pass
    return ""


def _fitting(text: str, classes: int, where: str) -> tuple[str, ...]:
    try:
        labels = read_labels(text)
    except ValueError as error:
        raise ModelError(f"labels {where}: {error}") from error
    if len(labels) == classes:
        return labels
    hint = _fault_of_json(text)
    if len(labels) == classes + 1 and labels[0].lower() == BACKGROUND:
        hint = f"; the first, {labels[0]}, is a class that this model does not have: take it out"
    elif len(labels) == classes - 1:
        hint = f"; if class 0 of the model is the {BACKGROUND}, put that name first"
    names = "1 name" if len(labels) == 1 else f"{len(labels)} names"
    raise ModelError(f"labels {where}: {names} for a model of {classes} classes{hint}")
