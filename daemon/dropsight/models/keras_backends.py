"""What computes Keras models: TensorFlow, JAX or PyTorch, whichever the host has."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from dropsight import installing
from dropsight.errors import ModelError
from dropsight.models.spec import Batch
from dropsight.models.tf_graph import tensorflow

BACKENDS = ("tensorflow", "jax", "torch")
_VARIABLE = "KERAS_BACKEND"


def keras_on_its_backend(path: Path) -> tuple[ModuleType, str]:
    """Import Keras on the backend that KERAS_BACKEND names, else the first that is installed.

    One that is imported already keeps its own. Raises ModelError where there is none.
    """
    if (keras := sys.modules.get("keras")) is None:
        backend = _choose(path, os.environ.get(_VARIABLE))
        os.environ[_VARIABLE] = backend
        # As it stands JAX takes three quarters of a GPU's memory at once.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if backend == "tensorflow":
            tensorflow(path)
        try:
            keras = import_module("keras")
        except ImportError as error:
            raise ModelError(
                f"{path} needs Keras, which cannot be imported: {error}: {installing.with_extra('keras')}"
            ) from error
    backend = str(keras.backend.backend())
    if backend not in BACKENDS:
        raise ModelError(f"{path}: Keras runs on {backend}, not on {', '.join(BACKENDS[:-1])} or torch")
    if backend == "tensorflow":
        tensorflow(path)
    return keras, backend


def function_of(keras: Any, model: Any, backend: str) -> Callable[[Batch], list[Any]]:  # noqa: ANN401 - no types
    """Return what computes all outputs of a batch, on JAX or PyTorch, from any thread."""
    if backend == "torch":
        torch = import_module("torch")

        def compute(batch: Batch) -> Any:  # noqa: ANN401
            with torch.no_grad():
                return model(batch, training=False)
    else:
        weights = [
            [variable.value for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]
        compiled = import_module("jax").jit(lambda *given: model.stateless_call(*given, training=False)[0])

        def compute(batch: Batch) -> Any:  # noqa: ANN401
            return compiled(*weights, batch)

    return lambda batch: [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(compute(batch))]


def _choose(path: Path, wanted: str | None) -> str:
    installed = [name for name in BACKENDS if find_spec(name)]
    if wanted is None:
        if installed:
            return installed[0]
        raise ModelError(
            f"{path} needs Keras with TensorFlow, JAX or PyTorch: {installing.with_extra('full')}, "
            f"or, smaller, {installing.with_extra('keras')}"
        )
    if wanted not in BACKENDS:
        raise ModelError(f"{path}: {_VARIABLE} is {wanted}, not {', '.join(BACKENDS[:-1])} or torch")
    if wanted not in installed:
        raise ModelError(
            f"{path}: {_VARIABLE} is {wanted}, which is not installed: {installing.packages(wanted)}, "
            "or unset it"
        )
    return wanted
