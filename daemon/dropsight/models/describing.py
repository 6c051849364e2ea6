"""Labels and normalisation: from the config, else the model's metadata, its sidecar, a default."""

from pathlib import Path

import msgspec
import numpy as np

from dropsight.errors import ModelError
from dropsight.models.image_input import ImageInput, image_input
from dropsight.models.label_files import FoundLabels, find_labels
from dropsight.models.outputs import Output, refuse_embedding
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import Golden, Sidecar, check_normalization, read_sidecar, sidecar_path
from dropsight.models.spec import TensorSpec
from dropsight.records import USUAL_FRAMING, ColorOrder, Framing, Layout, Normalization

__all__ = [
    "UNIT_RANGE",
    "Description",
    "ModelOverrides",
    "OwnFacts",
    "Tool",
    "describe",
]

UNIT_RANGE = Normalization((0.0,), (255.0,))
USUAL_RANGES = {
    "[0, 1]": UNIT_RANGE,
    "[-1, 1]": Normalization((127.5,), (127.5,)),
    "0 to 255": Normalization((0.0,), (1.0,)),
}


class Tool(msgspec.Struct, frozen=True):
    """What made a model, where its models show it, and what all of its models want."""

    name: str
    normalization: Normalization
    framing: Framing


class OwnFacts(msgspec.Struct, frozen=True):
    """What a model's file says: in its metadata `labels`, a text with a line per class, and `normalization`.

    `left_by_graph` is what remains to be done to pixels before what the graph does to its input, `usual` what
    to guess of models of this kind with three channels, where nothing says it. `framing` is its tool's.
    """

    labels: str | None = None
    normalization: Normalization | None = None
    left_by_graph: Normalization | None = None
    usual: Normalization | None = None
    framing: Framing | None = None
    tool: Tool | None = None


_NOTHING_SAID = OwnFacts()


class Description(msgspec.Struct, frozen=True):
    names: FoundLabels
    normalization: Normalization
    normalization_from: str
    temperature: float
    golden: tuple[Golden, ...]
    layout: Layout
    layout_from: str
    color_order: ColorOrder
    color_order_from: str
    framing: Framing
    framing_from: str

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names.names

    @property
    def labels_from(self) -> str:
        return self.names.source


def describe(
    path: Path,
    said: ModelOverrides,
    *,
    tensor: TensorSpec,
    classes: int,
    image: ImageInput | None = None,
    own: OwnFacts = _NOTHING_SAID,
    answer: Output | None = None,
) -> Description:
    """Gather the facts; raises ModelError where they do not fit each other.

    `classes` is how many the model knows, `image` what its input was found to be, where that was asked
    before, `answer` the output that they come from.
    """
    sidecar = read_sidecar(path) or Sidecar()
    image = image or image_input(path, said, tensor)
    labels = find_labels(path, said, sidecar, classes, own.labels)
    if answer and labels.source == "default":
        refuse_embedding(path, answer)
    normalization, normalization_from = _normalization(path, said, sidecar, tensor, own)
    if max(len(normalization.mean), len(normalization.std)) > image.tensor.shape[image.layout.index("C")]:
        raise ModelError(
            f"{path}: normalization has one value per channel, but the model has only one channel"
        )
    framing, framing_from = _framing(path, said, sidecar, own)
    return Description(
        names=labels,
        normalization=normalization,
        normalization_from=normalization_from,
        temperature=sidecar.temperature,
        golden=sidecar.golden,
        layout=image.layout,
        layout_from=image.layout_from,
        color_order=said.color_order or sidecar.color_order or "RGB",
        color_order_from=_source(path, said.color_order, sidecar.color_order),
        framing=framing,
        framing_from=framing_from,
    )


def _normalization(
    path: Path, said: ModelOverrides, sidecar: Sidecar, tensor: TensorSpec, own: OwnFacts
) -> tuple[Normalization, str]:
    if own.normalization and not said.normalization:
        check_normalization(own.normalization, f"{path} (metadata)")
    known = [
        (said.normalization, "config"),
        (own.normalization, "metadata"),
        (sidecar.normalization, str(sidecar_path(path))),
    ]
    if tensor.dtype.kind in "fu" and not tensor.quantized:
        known.append((own.left_by_graph, "graph"))
    if tensor.dtype.kind == "f":
        known += [(own.tool.normalization, own.tool.name)] if own.tool else []
    for normalization, source in known:
        if normalization:
            return normalization, source
    found, found_from = _default_normalization(tensor)
    colored = 3 in {tensor.shape[1], tensor.shape[-1]}
    if own.usual and found_from == "default" and tensor.dtype.kind == "f" and colored:
        return own.usual, found_from
    return found, found_from


def _default_normalization(tensor: TensorSpec) -> tuple[Normalization, str]:
    """[0, 1] for floats; 8-bit integers are taken to hold the pixels themselves (int8: less 128).

    So do other whole numbers that have no scale. Where their quantization is that of a usual range, this is
    known and no default.
    """
    if tensor.dtype not in {np.dtype(np.uint8), np.dtype(np.int8)}:
        whole = np.issubdtype(tensor.dtype, np.integer) and not tensor.quantized
        return (Normalization((0.0,), (1.0,)), "dtype") if whole else (UNIT_RANGE, "default")
    offset = 128 if tensor.dtype == np.int8 else 0
    if not tensor.quantized:
        return Normalization((float(offset),), (1.0,)), "default" if offset else "dtype"
    found = Normalization((float(tensor.zero_point + offset),), (1.0 / tensor.scale,))
    usual = any(_alike(found, each) for each in USUAL_RANGES.values())
    return found, "quantization" if usual else "default"


def _alike(one: Normalization, other: Normalization) -> bool:
    """Whether black and white come out the same, to a fiftieth of what lies between them."""
    ends = np.array([0.0, 255.0])
    found, wanted = ((ends - each.mean) / each.std for each in (one, other))
    return bool(np.abs(found - wanted).max() <= np.ptp(wanted) / 50)


def _framing(path: Path, said: ModelOverrides, sidecar: Sidecar, own: OwnFacts) -> tuple[Framing, str]:
    """Say how, and where that was found: of a crop, where its share was, as any model can be cropped."""
    known, known_from = USUAL_FRAMING, "default"
    if own.framing:
        known, known_from = own.framing, "metadata"
    elif own.tool:
        known, known_from = own.tool.framing, own.tool.name
    resize = said.resize or sidecar.resize or known.resize
    central = said.central or sidecar.central or known.central
    ours = (said.central, sidecar.central) if resize == "crop" else (said.resize, sidecar.resize)
    found = _source(path, *ours)
    return Framing(resize, central), known_from if found == "default" else found


def _source(path: Path, of_config: object, of_sidecar: object) -> str:
    if of_config is not None:
        return "config"
    return str(sidecar_path(path)) if of_sidecar is not None else "default"
