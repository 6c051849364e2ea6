"""SavedModel folders, from Keras's `export` and from `tf.saved_model.save`; needs TensorFlow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dropsight.errors import ModelError
from dropsight.models.embedded_code import refuse_operators
from dropsight.models.frozen_graph import FrozenGraph
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import ModelOptions
from dropsight.models.tf_graph import (
    TensorFlowModel,
    build,
    tensor_spec,
    tensorflow,
    unloadable,
)

SIGNATURES = ("serving_default", "serve")


def open_saved_model(
    path: Path,
    *,
    said: ModelOverrides,
    options: ModelOptions,
    agree: Callable[[], None],
) -> TensorFlowModel:
    """Load a classifier; raises ModelError."""
    tf = tensorflow(path)
    refuse_operators(path)
    try:
        loaded = tf.saved_model.load(str(path))
        agree()
    except unloadable() as error:
        raise ModelError(
            f"{path}: TensorFlow cannot load it: {' '.join(str(error).split())[:500]}"
        ) from error
    signature = _signature(path, loaded.signatures)
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if len(inputs) != 1:
        raise ModelError(f"{path}: not an image classifier: {len(inputs)} inputs, not one")
    ((name, wanted),), answers = inputs.items(), sorted(outputs)
    if wanted.shape.rank is None or any(outputs[answer].shape.rank is None for answer in answers):
        raise ModelError(f"{path}: not an image classifier: the shapes of its input or output are not fixed")

    def function(batch: Any) -> list[Any]:  # noqa: ANN401 - TensorFlow's
        # The model must outlive its signature, whose variables it holds.
        found = loaded and signature(**{name: tf.constant(batch)})
        return [found[answer] for answer in answers]

    graph = FrozenGraph(path, signature)
    return build(
        path,
        kind="saved_model",
        function=function,
        graph=graph,
        tensor=tensor_spec(name, wanted),
        outputs=[tensor_spec(answer, outputs[answer]) for answer in answers],
        said=said,
        featured=graph.featured if options.embeddings else None,
    )


def _signature(path: Path, signatures: Any) -> Any:  # noqa: ANN401
    for name in SIGNATURES:
        if name in signatures:
            return signatures[name]
    raise ModelError(f"{path}: it has no signature {' or '.join(SIGNATURES)}, but {list(signatures)}")
