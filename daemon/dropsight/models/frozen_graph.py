"""The graph of a TensorFlow function: what it does to its input first, and what its answers come from."""

import math
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dropsight.errors import ModelError
from dropsight.models.features import NO_LAST_LAYER, NO_LAYER_BEFORE
from dropsight.models.scaling import Arithmetic, Step
from dropsight.models.spec import Activation, Batch

_ACTIVATIONS: dict[str, Activation] = {"Softmax": "softmax", "Sigmoid": "logistic"}
_ARITHMETIC: dict[str, Arithmetic] = {
    "Add": "add",
    "AddV2": "add",
    "BiasAdd": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Div": "divide",
    "RealDiv": "divide",
}
_ENDS = {"Softmax": "softmax", "MatMul": "dense", "Mean": "mean"}
# They change how values are kept, or belong to a dense layer.
_KEEPING = {"Identity", "Cast", "Reshape", "Squeeze", "NoOp"}
_OF_DENSE = {"BiasAdd", "Relu"}
_PLACING = {
    *("Transpose", "ExpandDims", "StridedSlice", "ReverseV2"),
    *("ResizeBilinear", "ResizeNearestNeighbor"),
}
_WEIGHTED = {"MatMul", "BatchMatMulV2", "Conv2D", "DepthwiseConv2dNative"}
# What a last layer's answer goes through.
_AFTER_WEIGHTED = {*_ACTIVATIONS, "BiasAdd", "Add", "AddV2", "Mean", "AvgPool", "Relu", "Relu6"}
# A constant on the input has a value for all channels, or one for each.
_MOST_VALUES = 4
_LONGEST_WAY = 32


class FrozenGraph:
    """Inlined, its weights constants."""

    def __init__(self, path: Path, concrete: Any) -> None:  # noqa: ANN401 - TensorFlow ships no types
        constants = import_module("tensorflow.python.framework.convert_to_constants")
        try:
            self._frozen = constants.convert_variables_to_constants_v2(concrete, lower_control_flow=False)
        except ValueError as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{path}: its graph changes its own variables, as layers for training do: {reason}"
            ) from error

    @property
    def names(self) -> list[str]:
        return [str(operator.name) for operator in self._frozen.graph.get_operations()]

    def activations(self) -> list[Activation]:
        """Follow the outputs back through what does not change their meaning."""
        return [_activation(output.op) for output in self._frozen.outputs]

    def ending(self) -> list[str]:
        """Return from the first answer backwards what it comes from, leaving out what keeps its meaning."""
        operator, found = self._frozen.outputs[0].op, []
        for _ in range(_LONGEST_WAY):
            if operator.type not in _KEEPING | _OF_DENSE:
                found.append(_ENDS.get(operator.type, "other"))
            if not operator.inputs:
                break
            operator = operator.inputs[0].op
        return found

    def featured(self, output: int) -> Callable[[Batch], Sequence[Any]]:
        """Return what gives all outputs and, last, what the last layer with weights before one is given.

        Raises ValueError where no other layer with weights is before it.
        """
        operator = self._frozen.outputs[output].op
        while operator.type in _KEEPING | _AFTER_WEIGHTED:
            operator = next((each.op for each in operator.inputs if not _is_constant(each.op)), None)
            if operator is None:
                break
        if operator is None or operator.type not in _WEIGHTED:
            raise ValueError(NO_LAST_LAYER)
        tensor = operator.inputs[0]
        while tensor.op.type in _KEEPING and tensor.op.inputs:
            tensor = tensor.op.inputs[0]
        if not _has_weights(tensor.op):
            raise ValueError(NO_LAYER_BEFORE)
        pruned = self._frozen.prune(self._frozen.inputs, [*self._frozen.outputs, tensor])
        constant = import_module("tensorflow").constant
        return lambda batch: pruned(constant(batch))

    def first_steps(self) -> Iterator[Step]:
        """Follow the input as long as there is one way on, and constants alone meet it."""
        pictures = [each for each in self._frozen.inputs if each.dtype.name not in {"resource", "variant"}]
        if len(pictures) != 1:
            return
        (current,) = pictures
        for _ in range(_LONGEST_WAY):
            ways = current.consumers()
            if len(ways) != 1 or len(ways[0].outputs) != 1:
                return
            operator = ways[0]
            if operator.type in _ARITHMETIC:
                step = self._step(operator, current)
                if step is None:
                    return
                yield step
            elif operator.type not in _KEEPING | _PLACING or operator.inputs[0] is not current:
                return
            (current,) = operator.outputs

    def _step(self, operator: Any, current: Any) -> Step | None:  # noqa: ANN401
        kind, (first, second) = _ARITHMETIC[operator.type], operator.inputs
        if kind in {"subtract", "divide"} and first is not current:
            return None
        other = second if first is current else first
        if not _is_constant(other.op) or None in other.shape or math.prod(other.shape) > _MOST_VALUES:
            return None
        return Step(kind, np.asarray(self._frozen.prune([], other)(), np.float64))


def _activation(operator: Any) -> Activation:  # noqa: ANN401
    while operator.type in _KEEPING and operator.inputs:
        operator = operator.inputs[0].op
    return _ACTIVATIONS.get(operator.type, "none")


def _is_constant(operator: Any) -> bool:  # noqa: ANN401
    """Whether nothing of it comes from the input."""
    waiting = [operator]
    for _ in range(_LONGEST_WAY):
        if not waiting:
            return True
        operator = waiting.pop()
        if operator.type == "Placeholder":
            return False
        waiting += [each.op for each in operator.inputs]
    return False


def _has_weights(operator: Any) -> bool:  # noqa: ANN401
    """Whether it comes from a layer with weights."""
    waiting, seen = [operator], set[str]()
    while waiting:
        operator = waiting.pop()
        if operator.type in _WEIGHTED:
            return True
        waiting += [each.op for each in operator.inputs if each.op.name not in seen]
        seen.update(each.op.name for each in operator.inputs)
    return False
