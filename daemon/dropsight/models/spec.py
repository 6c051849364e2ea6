"""What the rest of the house knows of a model."""

import math
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, Self, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from dropsight.config import Delegate, ModelSettings
from dropsight.models.sidecar import Golden, SetSizes
from dropsight.records import USUAL_FRAMING, ColorOrder, Framing, Layout, Normalization

Batch: TypeAlias = NDArray[np.generic]  # (n, *input.shape[1:]), in the input tensor's dtype and layout
Scores: TypeAlias = NDArray[np.float32]  # (n, classes), dequantized; of several heads one beside the other
# Behind them stand the features, where they are asked for.
Activation: TypeAlias = Literal["softmax", "logistic", "none"]


class ModelOptions(msgspec.Struct, frozen=True):
    """How a model is to be run; a backend heeds what it can."""

    threads: int = 1
    delegate: Delegate | None = None
    accelerator: Literal["cpu", "gpu"] = "cpu"
    embeddings: bool = False

    @classmethod
    def of(cls, settings: ModelSettings) -> "ModelOptions":
        return cls(
            1 if settings.threads == "auto" else settings.threads, settings.delegate, settings.accelerator
        )

    @property
    def on_the_cpu(self) -> "ModelOptions":
        return ModelOptions(self.threads, embeddings=self.embeddings)

    @property
    def device(self) -> str | None:
        """What is to compute the model; None is the CPU."""
        if self.delegate:
            return f"the delegate {self.delegate.library}"
        return "the GPU" if self.accelerator == "gpu" else None


class TensorSpec(msgspec.Struct, frozen=True):
    """real = (quantized - zero_point) * scale; a scale of 0 says that the tensor is not quantized.

    `shape` is the declared one: -1 stands for a size that may be chosen.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def quantized(self) -> bool:
        return self.scale != 0.0


def classes_in(tensor: TensorSpec) -> int:
    """Return how many numbers there are for an image, of an output that is [batch, classes] or alike."""
    return max(tensor.shape, default=1) if len(tensor.shape) < 2 else math.prod(tensor.shape[1:])


class Kernels(msgspec.Struct, frozen=True):
    """How many of a TFLite model's operators XNNPACK computes, the others being slow.

    `fault`: why it does not work at all here, and the way out.
    """

    xnnpack: int
    operators: int
    fault: str | None = None

    def __str__(self) -> str:
        if self.fault:
            return self.fault
        if not self.xnnpack:
            return (
                f"slow ones: XNNPACK, the fast ones, supports none of the model's {self.operators} operators"
            )
        share = "all" if self.xnnpack == self.operators else f"{self.xnnpack} of"
        return f"XNNPACK, for {share} {self.operators} operators"


class HeadSpec(msgspec.Struct, frozen=True):
    """One of several answers; `columns` are where it stands in the scores."""

    name: str
    output: TensorSpec
    activation: Activation
    labels: tuple[str, ...]
    labels_from: str
    columns: tuple[int, int]
    thresholds: tuple[float, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """Classes that people call by one name; their numbers in order."""

    name: str
    classes: tuple[int, ...]


class Acceleration(msgspec.Struct, frozen=True):
    """A device that is to compute a model, and how many of its operators it has taken; None: not told.

    `fault`: why the CPU computes it instead.
    """

    device: str
    taken: int | None = None
    operators: int | None = None
    fault: str | None = None

    def __str__(self) -> str:
        if self.fault:
            return f"the CPU, not {self.device}: {self.fault}"
        if self.taken is None:
            return f"{self.device}, in part"
        share = "all" if self.taken == self.operators else f"{self.taken} of"
        return f"{self.device}, for {share} {self.operators} operators"


class ModelSpec(msgspec.Struct, frozen=True, dict=True):
    """`activation` is the graph's last word: probabilities after softmax or logistic, logits after none.

    `temperature` comes from the model's sidecar; the `*_from` fields say where a fact was found.
    `input` is a batch of images of a fixed size; `taken` is the shape in which the model itself takes them.
    `thresholds`, one a class, are from which probability on it is there, where several may be there at once.
    `outputs` are how many the model has, `heads` those that are used where they are several.
    `groups` are of its main answer's classes, each of which may be in several or in none. `unknown` is the
    flatness above which an answer is none; `sets`, from which probability on a class is in the set.
    `color_order` is that of its channels, also in `normalization`.
    `framing` is how a picture becomes one of its size.
    `layout` is the input's order: (n, height, width, channels) or (n, channels, height, width).
    `features` are how many numbers of an embedding stand behind the scores, where the options ask for them.
    `faults` say what the model brings along that cannot be read, and was done without, or that costs much.
    `kernels` is None where the backend has no choice of them, or does not tell; `acceleration`, where
    the CPU alone computes it.
    """

    name: str
    path: Path
    format: str
    backend: str
    quantization: str
    digest: str
    input: TensorSpec
    output: TensorSpec
    activation: Activation
    labels: tuple[str, ...]
    labels_from: str
    normalization: Normalization
    normalization_from: str
    temperature: float = 1.0
    golden: tuple[Golden, ...] = ()
    faults: tuple[str, ...] = ()
    kernels: Kernels | None = None
    acceleration: Acceleration | None = None
    layout: Layout = "NHWC"
    layout_from: str = "shape"
    taken: tuple[int, ...] = ()
    size_from: str = "shape"
    outputs: int = 1
    heads: tuple[HeadSpec, ...] = ()
    thresholds: tuple[float, ...] = ()
    groups: tuple[Group, ...] = ()
    groups_from: str = "none"
    unknown: float | None = None
    sets: SetSizes | None = None
    color_order: ColorOrder = "RGB"
    color_order_from: str = "default"
    framing: Framing = USUAL_FRAMING
    framing_from: str = "default"
    features: int = 0

    @property
    def columns(self) -> int:
        """How many scores there are, all heads' together, before any features."""
        return self.heads[-1].columns[1] if self.heads else classes_in(self.output)

    @cached_property
    def answer(self) -> slice:
        """Which of the scores are the main answer's."""
        if self.heads:
            return slice(*self.heads[0].columns)
        return slice(self.columns if self.features else None)

    @property
    def parts(self) -> list[tuple[str, slice, "ModelSpec"]]:
        """Return each head's name and columns, with what a model of it alone would say of itself.

        The model was calibrated to its temperature by the main answer.
        """
        return [
            (
                head.name,
                slice(*head.columns),
                _of(head, self) if head.columns[0] else replace(self, heads=(), features=0),
            )
            for head in self.heads
        ]

    @property
    def all_labels(self) -> list[str]:
        """Return what its records may name, of heads behind the first as HEAD:LABEL."""
        others = (f"{head.name}:{label}" for head in self.heads[1:] for label in head.labels)
        return [*self.labels, *others]

    @cached_property
    def multi_label(self) -> bool:
        """Whether its classes do not exclude each other: each has a probability of its own."""
        return bool(self.thresholds)

    @property
    def height(self) -> int:
        return self.input.shape[self.layout.index("H")]

    @property
    def width(self) -> int:
        return self.input.shape[self.layout.index("W")]

    @property
    def channels(self) -> int:
        return self.input.shape[self.layout.index("C")]


def _of(head: HeadSpec, main: ModelSpec) -> ModelSpec:
    return replace(
        main,
        heads=(),
        output=head.output,
        activation=head.activation,
        labels=head.labels,
        labels_from=head.labels_from,
        temperature=1.0,
        thresholds=head.thresholds,
        features=0,
        groups=(),
        unknown=None,
        sets=None,
    )


class Model(Protocol):
    """A loaded model; one thread at a time may use it, unless it is `shared`."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def shared(self) -> bool:
        """Whether it brings threads of its own: any may use it, and many images at once gain time."""

    def scores(self, batch: Batch) -> Scores:
        """Invoke on a batch; raises ModelError where the interpreter refuses."""

    def replicate(self, *, threads: int | None = None) -> Self:
        """Open the same model again, for another thread, with so many threads of its own, else as many.

        The weights' bytes are shared; a `shared` model returns itself.
        """
