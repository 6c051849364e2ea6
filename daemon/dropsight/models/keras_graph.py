"""What a Keras model does to its input first, and what its answers come from, as its layers tell.

Told alike on TensorFlow, JAX and PyTorch; of functional and sequential models, with others inside.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dropsight.models.features import NO_LAST_LAYER, NO_LAYER_BEFORE
from dropsight.models.scaling import Arithmetic, Step
from dropsight.models.spec import Activation

_ACTIVATIONS: dict[str, Activation] = {"softmax": "softmax", "sigmoid": "logistic"}
_ENDS = {"Dense": "dense", "GlobalAveragePooling2D": "mean", "Mean": "mean"}
_WEIGHTED = {"Dense", "Conv2D"}
_KEEPING = {"Identity", "Cast", "Reshape", "Squeeze", "Flatten", "Dropout", "Activation"}
_PLACING = {"Resizing", "CenterCrop", "Permute", "Transpose"}
_ARITHMETIC: dict[str, Arithmetic] = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "TrueDivide": "divide",
    "Divide": "divide",
}
_COMMUTING = {"add", "multiply"}
# A constant on the input has a value for all channels, or one for each.
_MOST_VALUES = 4


class _Place(NamedTuple):
    """A tensor in a model, and where that model's answer goes on in the one around it."""

    model: Any
    tensor: Any
    around: "_Place | None" = None


class KerasGraph:
    def __init__(self, model: Any) -> None:  # noqa: ANN401 - Keras ships no types
        """Raise ValueError for a subclassed model, whose layers say nothing of how they are called."""
        if not getattr(model, "outputs", None):
            raise ValueError("the output of a subclassed model can be inspected with TensorFlow only")
        self._model = model

    @property
    def names(self) -> list[str]:
        return [str(layer.name) for layer in self._model._flatten_layers(include_self=False)]  # noqa: SLF001

    def activations(self) -> list[Activation]:
        return [_activation(output) for output in self._model.outputs]

    def ending(self) -> list[str]:
        """Return from the first answer backwards what it comes from, leaving out what keeps its meaning."""
        found = []
        for operation in _makers(self._model.outputs[0]):
            kind, activation = type(operation).__name__, _activation_of(operation)
            if activation:
                found.append("softmax" if activation == "softmax" else "other")
            if not _keeps(operation) and kind.lower() not in _ACTIVATIONS:
                found.append(_ENDS.get(kind, "other"))
        return found

    def with_features(self, keras: Any, output: int) -> Any:  # noqa: ANN401
        """Return a model that also gives, last, what the last layer with weights before an output is given.

        Raises ValueError where no other layer with weights is before it.
        """
        tensor, found = self._model.outputs[output], False
        while not found:
            operation, (given, *others) = _made_by(tensor)
            found = type(operation).__name__ in _WEIGHTED
            if others or not (found or _keeps(operation) or _activation_of(operation)):
                raise ValueError(NO_LAST_LAYER)
            tensor = given
        while type(_made_by(tensor)[0]).__name__ in _KEEPING - {"Activation"}:
            tensor = _made_by(tensor)[1][0]
        inner = keras.Model(self._model.inputs, tensor)
        if not any(len(weight.shape) > 1 for weight in inner.weights):
            raise ValueError(NO_LAYER_BEFORE)
        return keras.Model(self._model.inputs, [*self._model.outputs, tensor])

    def first_steps(self) -> Iterator[Step]:
        """Follow the input as long as there is one way on, and constants alone meet it."""
        place: _Place | None = _Place(self._model, self._model.inputs[0])
        while place:
            users = _users(place.model, place.tensor)
            if not users and place.around and place.model.outputs[0] is place.tensor:
                place = place.around
                continue
            if len(users) != 1 or len(users[0].output_tensors) != 1:
                return
            node = users[0]
            after = _Place(place.model, node.output_tensors[0], place.around)
            if getattr(node.operation, "outputs", None):
                place = _Place(node.operation, node.operation.inputs[0], after)
                continue
            steps = _steps(node, place.tensor)
            if steps is None:
                return
            yield from steps
            place = after


def _makers(tensor: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield operations from the one that made a tensor backwards, until several meet."""
    around: list[Any] = []
    while True:
        operation, number, position = tensor._keras_history  # noqa: SLF001 - there is no public way
        node = operation._inbound_nodes[number]  # noqa: SLF001
        if node.is_input:
            if not around:
                return
            tensor = around.pop()
            continue
        given = node.input_tensors
        if getattr(operation, "outputs", None) and len(given) == 1:
            around.append(given[0])
            tensor = operation.outputs[position]
            continue
        yield operation
        if len(given) != 1:
            return
        tensor = given[0]


def _made_by(tensor: Any) -> tuple[Any, list[Any]]:  # noqa: ANN401
    """Return the operation that made it, and of what."""
    operation, number, _ = tensor._keras_history  # noqa: SLF001 - as above
    node = operation._inbound_nodes[number]  # noqa: SLF001
    if node.is_input:
        raise ValueError(NO_LAYER_BEFORE)
    if getattr(operation, "outputs", None):
        raise ValueError("its classifier is in a nested model, which can be traced with TensorFlow only")
    return operation, node.input_tensors


def _users(model: Any, tensor: Any) -> list[Any]:  # noqa: ANN401
    levels = getattr(model, "_functional", model)._nodes_by_depth.values()  # noqa: SLF001 - as above
    nodes = (node for level in levels for node in level)
    return [node for node in nodes if any(given is tensor for given in node.input_tensors)]


def _activation(output: Any) -> Activation:  # noqa: ANN401
    for operation in _makers(output):
        if found := _activation_of(operation):
            return found
        if not _keeps(operation):
            break
    return "none"


def _activation_of(operation: Any) -> Activation | None:  # noqa: ANN401
    """Of a layer with an activation, or that is one; what follows another activation is of no interest."""
    inner = getattr(operation, "activation", None)
    name = getattr(inner, "__name__", type(inner).__name__) if inner is not None else type(operation).__name__
    return _ACTIVATIONS.get(str(name).lower())


def _keeps(operation: Any) -> bool:  # noqa: ANN401
    if getattr(getattr(operation, "activation", None), "__name__", "linear") != "linear":
        return False
    return type(operation).__name__ in _KEEPING


def _steps(node: Any, tensor: Any) -> list[Step] | None:  # noqa: ANN401
    """Return what an operation does to each value; None where it is anything else."""
    operation, kind = node.operation, type(node.operation).__name__
    if kind == "Rescaling":
        return [Step("multiply", _values(operation.scale)), Step("add", _values(operation.offset))]
    if kind == "Normalization" and not operation.invert:
        deviation = np.maximum(np.sqrt(_values(operation.variance)), np.finfo(np.float32).eps)
        return [Step("subtract", _values(operation.mean)), Step("divide", deviation)]
    if kind in _ARITHMETIC:
        return _arithmetic(_ARITHMETIC[kind], node.arguments.args, tensor)
    # Those that change pictures by chance do so in training only.
    plain = kind.startswith("Random") or kind in _KEEPING - {"Activation"} | _PLACING
    return [] if plain or _keeps(operation) else None


def _arithmetic(kind: Arithmetic, arguments: Any, tensor: Any) -> list[Step] | None:  # noqa: ANN401
    if len(arguments) != 2 or (arguments[0] is not tensor and kind not in _COMMUTING):
        return None
    (other,) = [each for each in arguments if each is not tensor] or [None]
    if other is None or hasattr(other, "_keras_history"):
        return None
    values = _values(other)
    return [Step(kind, values)] if values.size <= _MOST_VALUES else None


def _values(constant: Any) -> Any:  # noqa: ANN401
    """Of a number, a list, or a tensor of any backend."""
    detached = constant.detach().cpu() if hasattr(constant, "detach") else constant
    return np.asarray(detached, np.float64).ravel()
