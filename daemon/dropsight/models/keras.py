"""Keras models: .keras and legacy .h5; needs TensorFlow, JAX or PyTorch."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dropsight.errors import ModelError
from dropsight.models.embedded_code import refuse_layers
from dropsight.models.frozen_graph import FrozenGraph
from dropsight.models.keras_backends import function_of, keras_on_its_backend
from dropsight.models.keras_graph import KerasGraph
from dropsight.models.legacy_keras import load_legacy
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import ModelOptions, TensorSpec
from dropsight.models.tf_graph import (
    Function,
    TensorFlowModel,
    build,
    tensor_spec,
    tensorflow,
    unloadable,
)

# Before it, safe_mode was not heeded for .h5 files: a Lambda layer in one was run (CVE-2025-9905).
_OLDEST = (3, 11, 3)


def open_keras(
    path: Path,
    *,
    said: ModelOverrides,
    options: ModelOptions,
    agree: Callable[[], None],
) -> TensorFlowModel:
    """Load a classifier, sequential, functional or subclassed; raises ModelError."""
    keras, backend = keras_on_its_backend(path)
    _check_version(path, str(keras.__version__))
    refuse_layers(path)
    try:
        model = load_legacy(path) or keras.models.load_model(path, compile=False)
        agree()
        if backend != "tensorflow":
            return _without_tensorflow(path, keras, model, said, options)
        tf = tensorflow(path)
        wanted = tf.TensorSpec(*_input(model))
        function = tf.function(lambda batch: model(batch, training=False))
        concrete = function.get_concrete_function(wanted)
    except unloadable() as error:
        reason = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
        raise ModelError(f"{path}: Keras cannot load it: {reason[:500]}") from error
    graph = FrozenGraph(path, concrete)
    found = tf.nest.flatten(concrete.structured_outputs)
    names = _output_names(model, concrete.structured_outputs, len(found))
    return build(
        path,
        kind="keras",
        function=lambda batch: tf.nest.flatten(concrete(tf.constant(batch))),
        graph=graph,
        tensor=tensor_spec(str(model.name), wanted),
        outputs=[tensor_spec(name, tensor) for name, tensor in zip(names, found, strict=True)],
        said=said,
        featured=graph.featured if options.embeddings else None,
    )


def _without_tensorflow(
    path: Path,
    keras: Any,  # noqa: ANN401 - Keras ships no types
    model: Any,  # noqa: ANN401
    said: ModelOverrides,
    options: ModelOptions,
) -> TensorFlowModel:
    graph, backend = KerasGraph(model), str(keras.backend.backend())

    def featured(output: int) -> Function:
        return function_of(keras, graph.with_features(keras, output), backend)

    shape, dtype = _input(model)
    answer = model.compute_output_spec(keras.KerasTensor(shape, dtype))
    found = keras.tree.flatten(answer)
    names = _output_names(model, answer, len(found))
    return build(
        path,
        kind="keras",
        backend=backend,
        function=function_of(keras, model, backend),
        graph=graph,
        tensor=_spec(str(model.name), shape, dtype),
        outputs=[_spec(name, each.shape, each.dtype) for name, each in zip(names, found, strict=True)],
        said=said,
        featured=featured if options.embeddings else None,
    )


def _spec(name: str, shape: Sequence[int | None], dtype: str) -> TensorSpec:
    return TensorSpec(name, tuple(-1 if size is None else size for size in shape), np.dtype(dtype))


def _output_names(model: Any, outputs: Any, count: int) -> list[str]:  # noqa: ANN401
    """Return the keys where the answer is a mapping, in TensorFlow's order; else Keras's own names."""
    if isinstance(outputs, dict):
        return sorted(outputs)
    names = getattr(model, "output_names", None) or []
    return [str(name) for name in names] if len(names) == count else [""] * count


def _check_version(path: Path, version: str) -> None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        reason = f"Keras {version} executes code that is embedded in a model file"
        raise ModelError(f"{path} needs Keras {oldest} or later: {reason}; upgrade it")


def _input(model: Any) -> tuple[list[int | None], str]:  # noqa: ANN401 - Keras ships no types
    """Return shape and dtype; of a subclassed model, the shape that it was built with."""
    inputs = getattr(model, "inputs", None)
    if inputs:
        if len(inputs) != 1:
            raise ValueError(f"not an image classifier: {len(inputs)} inputs")
        shape, dtype = list(inputs[0].shape), str(inputs[0].dtype)
    else:
        config = model.get_build_config() or {}
        if "input_shape" not in config:
            raise ValueError("it was saved before it was built; call it on an image once, then save")
        shape, dtype = list(config["input_shape"]), "float32"
    return [None, *shape[1:]], dtype
