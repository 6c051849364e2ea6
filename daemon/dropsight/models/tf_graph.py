"""What Keras models and SavedModels share: a TensorFlow function from a batch to scores."""

import os
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dropsight import installing
from dropsight.errors import ModelError
from dropsight.models.describing import ModelOverrides, check_input, describe
from dropsight.models.spec import Activation, Batch, ModelSpec, Scores, TensorSpec

_TRANSPARENT = {"Identity", "Cast", "Reshape", "Squeeze", "NoOp"}
_ACTIVATIONS: dict[str, Activation] = {"Softmax": "softmax", "Sigmoid": "logistic"}

Function = Callable[[Batch], Any]  # TensorFlow ships no types


def tensorflow(path: Path) -> ModuleType:
    """Import TensorFlow; raises ModelError with the way to install it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        return import_module("tensorflow")
    except ImportError as error:
        raise ModelError(f"{path} needs TensorFlow: {installing.with_extra('full')}") from error


class TensorFlowModel:
    """Thread-safe, as TensorFlow's functions are."""

    shared = True

    def __init__(self, spec: ModelSpec, function: Function) -> None:
        self.spec, self._function = spec, function

    def scores(self, batch: Batch) -> Scores:
        """See Model.scores; one of a fixed batch gets that many, zeros where images lack."""
        size, count = self.spec.input.shape[0], len(batch)
        if size in {-1, count}:
            return self._call(batch)
        lacking = np.zeros((-count % size, *batch.shape[1:]), batch.dtype)
        full = np.concatenate([batch, lacking])
        return np.concatenate([self._call(full[at : at + size]) for at in range(0, len(full), size)])[:count]

    def _call(self, batch: Batch) -> Scores:
        try:
            answer = self._function(batch)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ModelError(f"{self.spec.path}: {' '.join(str(error).split())}") from error
        return np.asarray(answer, np.float32).reshape(len(batch), -1)

    def replicate(self, *, threads: int | None = None) -> "TensorFlowModel":  # noqa: ARG002 - its own
        return self


def build(
    path: Path,
    *,
    kind: str,
    function: Function,
    concrete: Any,  # noqa: ANN401 - TensorFlow ships no types
    name: str,
    shapes: list[list[int | None]],
    said: ModelOverrides,
) -> TensorFlowModel:
    """Put a model together from its function; `shapes` are its input's and its output's."""
    tensor, output = (_tensor(name, shape) for shape in shapes)
    check_input(path, tensor)
    activation = _activation(concrete)
    classes = 2 if output.shape[-1] == 1 and activation == "logistic" else output.shape[-1]
    description = describe(path, said, tensor=tensor, classes=classes)
    spec = ModelSpec(
        name=path.stem,
        path=path,
        format=kind,
        backend="tensorflow",
        quantization="float32",
        digest=_digest(path),
        input=tensor,
        output=output,
        activation=activation,
        labels=description.labels,
        labels_from=description.labels_from,
        normalization=description.normalization,
        normalization_from=description.normalization_from,
        temperature=description.temperature,
        golden=description.golden,
        layout=description.layout,
        layout_from=description.layout_from,
    )
    return TensorFlowModel(spec, function)


def _tensor(name: str, shape: list[int | None]) -> TensorSpec:
    return TensorSpec(name, tuple(-1 if size is None else int(size) for size in shape), np.dtype(np.float32))


def _activation(concrete: Any) -> Activation:  # noqa: ANN401
    """Follow the output of the inlined graph back through what does not change its meaning."""
    constants = import_module("tensorflow.python.framework.convert_to_constants")
    frozen = constants.convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    operator = frozen.outputs[0].op
    while operator.type in _TRANSPARENT and operator.inputs:
        operator = operator.inputs[0].op
    return _ACTIVATIONS.get(operator.type, "none")


def _digest(path: Path) -> str:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    digest = sha256()
    for file in files:
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()}"
