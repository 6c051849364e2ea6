"""The file beside a model, `<model>.yaml`: what the model itself cannot say.

labels: labels.txt            # beside the sidecar, one line per class
normalization: {mean: [127.5], std: [127.5]}
temperature: 1.3
thresholds: {cat: 0.3, "*": 0.6}  # of classes that may be there at once; * stands for all others, else 0.5
groups: {cat: [tabby, "*cat"], dog: "151-268"}   # classes that add up to one answer, by label or number
unknown: 0.65                 # the flatness (entropy, 0 to 1) above which an answer is none
prediction_set: {coverage: 0.9, least: 0.31}     # as dropsight calibrate --coverage fits it
input_size: [224, 224]        # height and width, where the model does not fix them
layout: NCHW                  # channels first; only where the input's shape leaves it open
output: probs                 # of several outputs the one to use, by name or number
heads: {species: 0, sex: {output: 1, labels: sexes.txt}}   # or several in one record, the main one first
color_order: BGR              # blue first, also in the normalization
resize: crop                  # or stretch, letterbox, cover
central: 1.0                  # how much of the picture's central part a crop keeps, 0.875 by default
golden:                       # images beside the sidecar that the model must get right before it is used
  - {image: cat.jpg, class: tabby, confidence: 0.9, tolerance: 0.1}
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from dropsight.bounded import SIDECAR_BYTES, read_bounded
from dropsight.config import Members, OutputName
from dropsight.config.document import UNREADABLE, parse
from dropsight.errors import ModelError
from dropsight.records import ColorOrder, Layout, Normalization, Resize

MOST_GOLDEN = 100
"""Images that are classified before a model is used, while nothing else is."""

Side: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=8192)]


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An image with the class, by index or label, and perhaps the confidence that it must come out with."""

    image: str
    expects: int | str = msgspec.field(name="class")
    confidence: float | None = None
    tolerance: float = 0.1


class NamedOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A head by its output; its labels lie beside the sidecar."""

    output: OutputName
    labels: str | None = None


class SetSizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Classes of at least this probability hold the right one in so large a share of pictures."""

    coverage: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    least: Annotated[float, msgspec.Meta(gt=0, le=1)]


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    labels: str | None = None
    normalization: Normalization | None = None
    temperature: float = 1.0
    thresholds: dict[str | int, Annotated[float, msgspec.Meta(ge=0, le=1)]] = {}
    groups: dict[str | int, Members] = {}
    unknown: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    prediction_set: SetSizes | None = None
    input_size: tuple[Side, Side] | None = None
    layout: Layout | None = None
    output: OutputName | None = None
    heads: dict[str, NamedOutput | OutputName] = {}
    color_order: ColorOrder | None = None
    resize: Resize | None = None
    central: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    golden: Annotated[tuple[Golden, ...], msgspec.Meta(max_length=MOST_GOLDEN)] = ()


# Of a mean or std: a pixel that is divided by less than its inverse would become an infinite number.
_LARGEST = 1e9


def sidecar_path(model: Path) -> Path:
    return model.with_suffix(".yaml")


def beside(model: Path, name: str) -> Path:
    """Return the file that a sidecar names; raises ModelError for one that is not in its own folder.

    A sidecar may come from a stranger, and labels are told to everybody.
    """
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        fault = "a sidecar names files of its own folder only; name it in the config"
        raise ModelError(f"{sidecar_path(model)}: {name}: {fault}")
    return model.parent / name


def read_sidecar(model: Path) -> Sidecar | None:
    """Read the sidecar of a model, None where there is none; raises ModelError for a faulty one."""
    path = sidecar_path(model)
    try:
        return _sidecar(path, read_bounded(path, SIDECAR_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, *UNREADABLE) as error:
        raise ModelError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


@lru_cache(maxsize=1)  # a model is asked about it several times while it is opened
def _sidecar(path: Path, content: bytes) -> Sidecar:
    values, doubled = parse(content.decode("utf-8-sig"))
    if doubled:
        raise ModelError(f"{path}: {'.'.join(doubled[0].key)}: {doubled[0].text}")
    try:
        sidecar = msgspec.convert(values or {}, Sidecar)
    except msgspec.ValidationError as error:
        raise ModelError(f"{path}: {error}; it may hold {', '.join(Sidecar.__struct_fields__)}") from error
    if not 0 < sidecar.temperature < float("inf"):
        raise ModelError(f"{path}: temperature must be above 0")
    if not all(math.isfinite(each.tolerance) for each in sidecar.golden):
        raise ModelError(f"{path}: a golden image's tolerance must be a finite number")
    if sidecar.normalization:
        check_normalization(sidecar.normalization, str(path))
    return sidecar


def check_normalization(normalization: Normalization, where: str) -> None:
    """Raise ModelError unless there is one finite value, or one a channel, and every std is above 0."""
    mean, std = normalization.mean, normalization.std
    sound = {len(mean), len(std)} <= {1, 3} and all(abs(each) <= _LARGEST for each in (*mean, *std))
    if not (sound and min(std) >= 1 / _LARGEST):
        raise ModelError(
            f"{where}: normalization needs 1 or 3 finite numbers in mean and in std, std above 0"
        )
