"""Labels and normalisation: from the config, else the model's metadata, its sidecar, a default."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np

from dropsight.bounded import LABELS_BYTES, read_bounded
from dropsight.config import Head, ModelSettings
from dropsight.errors import ModelError
from dropsight.models.labels import read_labels
from dropsight.models.sidecar import Golden, Sidecar, check_normalization, read_sidecar, sidecar_path
from dropsight.models.spec import TensorSpec
from dropsight.records import Layout, Normalization

UNIT_RANGE = Normalization((0.0,), (255.0,))


class ModelOverrides(msgspec.Struct, frozen=True):
    """What the user says of a model; it counts before what the model says."""

    labels: Path | None = None
    normalization: Normalization | None = None
    input_size: tuple[int, ...] | None = None
    layout: Layout | None = None
    output: str | int | None = None
    heads: dict[str, Head] = {}

    @classmethod
    def of(cls, settings: ModelSettings) -> "ModelOverrides":
        return cls(**{name: getattr(settings, name) for name in cls.__struct_fields__})

    def encode(self) -> str:
        """Write it as JSON, which `decode` reads in another process."""
        return json.dumps(msgspec.to_builtins(self, enc_hook=os.fspath))  # which knows odd bytes in a path

    @classmethod
    def decode(cls, text: str) -> "ModelOverrides":
        return msgspec.convert(json.loads(text), cls, dec_hook=lambda kind, value: kind(value))


@dataclass(frozen=True, slots=True)
class Description:
    labels: tuple[str, ...]
    labels_from: str
    normalization: Normalization
    normalization_from: str
    temperature: float
    golden: tuple[Golden, ...]
    layout: Layout
    layout_from: str


def describe(
    path: Path,
    said: ModelOverrides,
    *,
    tensor: TensorSpec,
    classes: int,
    metadata_labels: str | None = None,
    metadata_normalization: Normalization | None = None,
) -> Description:
    """Gather the facts; raises ModelError where they do not fit each other.

    `classes` is how many the model knows; the metadata are the model's own, where its format has any.
    """
    sidecar = read_sidecar(path) or Sidecar()
    layout, layout_from = _layout(path, sidecar, tensor)
    labels, labels_from = _labels(path, said, sidecar, classes, metadata_labels)
    normalization, normalization_from = _normalization(path, said, sidecar, tensor, metadata_normalization)
    if max(len(normalization.mean), len(normalization.std)) > tensor.shape[layout.index("C")]:
        raise ModelError(
            f"{path}: normalization has one value per channel, but the model has only one channel"
        )
    return Description(
        labels=labels,
        labels_from=labels_from,
        normalization=normalization,
        normalization_from=normalization_from,
        temperature=sidecar.temperature,
        golden=sidecar.golden,
        layout=layout,
        layout_from=layout_from,
    )


def check_input(path: Path, tensor: TensorSpec) -> None:
    """Raise ModelError unless it takes images of a fixed size, in either layout."""
    if not _layouts(tensor):
        raise ModelError(
            f"{path}: not an image classifier: its input is {list(tensor.shape)}, "
            "not [batch, height, width, 1 or 3 channels] of a fixed size, "
            "nor [batch, 1 or 3 channels, height, width]"
        )


def _layouts(tensor: TensorSpec) -> list[Layout]:
    """Return those that the shape allows, the likelier first."""
    shape = tensor.shape
    if len(shape) != 4 or min(shape[1:]) < 1:
        return []
    layouts: tuple[Layout, ...] = get_args(Layout)
    return [layout for layout in layouts if shape[layout.index("C")] in {1, 3}]


def _layout(path: Path, sidecar: Sidecar, tensor: TensorSpec) -> tuple[Layout, str]:
    check_input(path, tensor)
    possible, wanted = _layouts(tensor), sidecar.layout
    if wanted is None:
        return possible[0], "shape"
    if wanted not in possible:
        raise ModelError(
            f"{sidecar_path(path)}: layout {wanted}: not with an input of {list(tensor.shape)}; "
            f"it is {possible[0]}"
        )
    return wanted, str(sidecar_path(path))


def _labels(
    path: Path, said: ModelOverrides, sidecar: Sidecar, classes: int, metadata: str | None
) -> tuple[tuple[str, ...], str]:
    file, way_out = said.labels, ""
    if file is None and metadata is not None:
        return _fitting(metadata, classes, f"{path} (metadata)"), "metadata"
    if file is None and sidecar.labels:
        file = path.parent / sidecar.labels
    beside = path.parent / "labels.txt"
    if file is None and beside.is_file():
        file = beside
        way_out = f"; if they are another model's, name this one's in model.labels or in {sidecar_path(path)}"
    if file is None:
        return tuple(f"class {number}" for number in range(classes)), "default"
    return _fitting(_text(file), classes, str(file), way_out), str(file)


def _text(file: Path) -> str:
    try:
        return read_bounded(file, LABELS_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"is not UTF-8 text: {error}"
        raise ModelError(f"labels {file}: cannot be read: {reason}") from error


def _fitting(text: str, classes: int, where: str, way_out: str = "") -> tuple[str, ...]:
    try:
        labels = read_labels(text)
    except ValueError as error:
        raise ModelError(f"labels {where}: {error}{way_out}") from error
    if len(labels) != classes:
        raise ModelError(f"labels {where}: {len(labels)} names for a model of {classes} classes{way_out}")
    return labels


def _normalization(
    path: Path, said: ModelOverrides, sidecar: Sidecar, tensor: TensorSpec, metadata: Normalization | None
) -> tuple[Normalization, str]:
    if said.normalization:
        return said.normalization, "config"
    if metadata:
        check_normalization(metadata, f"{path} (metadata)")
        return metadata, "metadata"
    if sidecar.normalization:
        return sidecar.normalization, str(sidecar_path(path))
    return _default_normalization(tensor), "default"


def _default_normalization(tensor: TensorSpec) -> Normalization:
    """[0, 1] for floats; 8-bit integers are taken to hold the pixels themselves (int8: less 128)."""
    if tensor.dtype not in {np.dtype(np.uint8), np.dtype(np.int8)}:
        return UNIT_RANGE
    offset = 128 if tensor.dtype == np.int8 else 0
    if not tensor.quantized:
        return Normalization((float(offset),), (1.0,))
    return Normalization((float(tensor.zero_point + offset),), (1.0 / tensor.scale,))
