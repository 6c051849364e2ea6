"""What Keras models and SavedModels share: a function from a batch to scores."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
from msgspec.structs import replace

from dropsight import installing
from dropsight.bounded import MODEL_BYTES, read_bounded
from dropsight.errors import ModelError
from dropsight.models.describing import OwnFacts
from dropsight.models.features import count_features, no_features, pooled
from dropsight.models.image_input import image_input
from dropsight.models.outputs import Output, in_own_batches, joined
from dropsight.models.overrides import ModelOverrides
from dropsight.models.scaling import Step, wanted_by
from dropsight.models.spec import Activation, Batch, ModelSpec, Scores, TensorSpec
from dropsight.models.specifying import FileFacts, specify
from dropsight.models.teachable import TEACHABLE_MACHINE, made_by_teachable_machine

_Errors: TypeAlias = tuple[type[Exception], ...]
_UNCOMPUTABLE: _Errors = (RuntimeError, ValueError, TypeError)
_UNLOADABLE: _Errors = (
    ValueError,
    TypeError,
    OSError,
    LookupError,
    AttributeError,
    ImportError,
    RuntimeError,
)

Function = Callable[[Batch], Sequence[Any]]  # all outputs; the frameworks ship no types


def tensorflow(path: Path) -> ModuleType:
    """Import TensorFlow; raises ModelError with the way to install it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    # For whoever sets that one: as it stands TensorFlow takes all memory of a GPU at once.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    try:
        return import_module("tensorflow")
    except ImportError as error:
        raise ModelError(f"{path} needs TensorFlow: {installing.with_extra('full')}") from error


def unloadable() -> _Errors:
    """Return what is known to be raised for files that are damaged, of another version, or need code."""
    return _UNLOADABLE + _of_tensorflow()


def _of_tensorflow() -> _Errors:
    tf = sys.modules.get("tensorflow")
    return (tf.errors.OpError,) if tf else ()


class Graph(Protocol):
    """What a model does first, and what its answers come from; `names` are of its operators or layers."""

    @property
    def names(self) -> list[str]: ...

    def activations(self) -> list[Activation]: ...

    def ending(self) -> list[str]: ...

    def first_steps(self) -> Iterator[Step]: ...


class TensorFlowModel:
    """A function from a batch to scores, of TensorFlow, JAX or PyTorch: any thread may call it."""

    shared = True

    def __init__(self, spec: ModelSpec, function: Function, outputs: Sequence[int] = (0,)) -> None:
        """`outputs` are the numbers of those that are used, the main answer's first."""
        self.spec, self._function, self.outputs = spec, function, tuple(outputs)

    def scores(self, batch: Batch) -> Scores:
        """See Model.scores; a batch of fixed size is filled up with its last image."""
        return in_own_batches(batch, self.spec.taken[0], self._call)

    def _call(self, batch: Batch) -> Scores:
        try:
            found = self._function(batch.reshape(len(batch), *self.spec.taken[1:]))
        except _UNCOMPUTABLE + _of_tensorflow() as error:
            raise ModelError(f"{self.spec.path}: {' '.join(str(error).split())}") from error
        answers = [np.asarray(found[number], np.float32).reshape(len(batch), -1) for number in self.outputs]
        if self.spec.features:
            answers.append(pooled(np.asarray(found[-1], np.float32), len(batch)))
        return joined(answers)

    def replicate(self, *, threads: int | None = None) -> "TensorFlowModel":  # noqa: ARG002 - its own
        return self


def build(  # noqa: PLR0913 - what a model is made of
    path: Path,
    *,
    kind: str,
    function: Function,
    graph: Graph,
    tensor: TensorSpec,
    outputs: Sequence[TensorSpec],
    said: ModelOverrides,
    backend: str = "tensorflow",
    featured: Callable[[int], Function] | None = None,
) -> TensorFlowModel:
    """Put a model together from its function; `outputs` are in the order in which that returns them.

    `featured`, where an embedding is wanted, returns the function that gives features, too, by an output's
    number, and raises ValueError where there are none.
    """
    image = image_input(path, said, tensor)
    answers = [
        Output(output, activation, (output.name,))
        for output, activation in zip(outputs, graph.activations(), strict=True)
    ]
    spec, numbers = specify(
        path,
        said,
        file=FileFacts(kind, backend, "float32", _digest(path)),
        image=image,
        outputs=answers,
        own=_own_facts(graph, tensor.name if kind == "saved_model" else None),
    )
    if featured is None:
        return TensorFlowModel(spec, function, numbers)
    try:
        function = featured(numbers[0])
    except ValueError as error:
        raise no_features(path, str(error)) from error
    count = count_features(TensorFlowModel(replace(spec, features=1), function, numbers))
    return TensorFlowModel(replace(spec, features=count), function, numbers)


def _own_facts(graph: Graph, input_name: str | None) -> OwnFacts:
    teachable = made_by_teachable_machine(graph.names, graph.ending(), input_name=input_name)
    return OwnFacts(
        left_by_graph=wanted_by(graph.first_steps()), tool=TEACHABLE_MACHINE if teachable else None
    )


def tensor_spec(name: str, tensor: Any) -> TensorSpec:  # noqa: ANN401
    """Describe a tensor of TensorFlow's or Keras's."""
    shape = tuple(-1 if size is None else int(size) for size in tensor.shape)
    return TensorSpec(name, shape, np.dtype(tensor.dtype.as_numpy_dtype))


def _digest(path: Path) -> str:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    digest, size = sha256(), sum(each.stat().st_size for each in files)
    if size > MODEL_BYTES:
        raise ModelError(f"{path}: it has {size:,} bytes, more than {MODEL_BYTES:,}")
    for file in files:
        digest.update(read_bounded(file, MODEL_BYTES))
    return f"sha256:{digest.hexdigest()}"
