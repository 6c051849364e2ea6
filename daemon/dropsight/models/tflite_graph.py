"""The graph in a .tflite file: what it does to its input first, and what its answer comes from."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dropsight.models.features import NO_LAST_LAYER, NO_LAYER_BEFORE
from dropsight.models.flatbuffer import Fields
from dropsight.models.scaling import Arithmetic, Step

# Fields by number in schema.fbs.
_OPERATOR_CODES, _SUBGRAPHS, _BUFFERS = 1, 2, 4
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3
_DEPRECATED_CODE, _CODE = 0, 3
_OPCODE_INDEX, _OP_INPUTS, _OP_OUTPUTS = 0, 1, 2
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION = 0, 1, 2, 3, 4
_SCALES, _ZERO_POINTS = 2, 3
# BuiltinOperator in schema.fbs.
_ARITHMETIC: dict[int, Arithmetic] = {0: "add", 18: "multiply", 41: "subtract", 42: "divide"}
# CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, BATCH_MATMUL.
_WEIGHTED = {3, 4, 9, 126}
# ADD, AVERAGE_POOL_2D, LOGISTIC, RELU, SOFTMAX, MEAN: what a last layer's answer goes through.
_AFTER_WEIGHTED = {0, 1, 14, 19, 25, 40}
_FLATTENING = {22, 43}
_ENDS = {9: "dense", 25: "softmax", 40: "mean"}
# DEQUANTIZE, RESHAPE, SQUEEZE, CAST, QUANTIZE: they change how values are kept.
_KEEPING = {6, 22, 43, 53, 114}
# RESIZE_BILINEAR, TRANSPOSE, STRIDED_SLICE, EXPAND_DIMS, RESIZE_NEAREST_NEIGHBOR, REVERSE_V2: and where.
_PLACING = {23, 39, 45, 70, 97, 105}
# TensorType in schema.fbs.
_TYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 7: "<i2", 9: "i1"}
# A constant on the input has a value for all channels, or one for each.
_MOST_VALUES = 4
_CONVOLUTION, _PADDING = 3, {34, 60}
# 16 times as much as first convolutions have.
_MOST_WEIGHTS = 2**18
_LONGEST_WAY = 16


class TFLiteGraph:
    """Raises DAMAGE, as `tflite_file` names it."""

    def __init__(self, data: bytes) -> None:
        model = Fields.root(data)
        codes = [
            max(code.number(_DEPRECATED_CODE, byte=True), code.number(_CODE))
            for code in model.tables(_OPERATOR_CODES)
        ]
        self._subgraph = next(model.tables(_SUBGRAPHS))
        self._buffers = list(model.tables(_BUFFERS))
        self._tensors = list(self._subgraph.tables(_TENSORS))
        self._operators = [
            (codes[each.number(_OPCODE_INDEX)], each.integers(_OP_INPUTS), each.integers(_OP_OUTPUTS))
            for each in self._subgraph.tables(_OPERATORS)
        ]

    @property
    def names(self) -> list[str]:
        """Return those of its tensors."""
        return [tensor.text(_NAME) for tensor in self._tensors]

    def first_steps(self) -> Iterator[Step]:
        """Follow the input as long as there is one way on, and constants alone meet it."""
        (current,) = self._subgraph.integers(_INPUTS)
        for _ in range(_LONGEST_WAY):
            ways = [each for each in self._operators if current in each[1]]
            if len(ways) != 1:
                return
            kind, inputs, outputs = ways[0]
            if kind in _ARITHMETIC:
                step = self._step(_ARITHMETIC[kind], inputs, current)
                if step is None:
                    return
                yield step
            elif kind not in _KEEPING | _PLACING:
                return
            current = outputs[0]

    def first_gain(self) -> float | None:
        """Return by how much a first convolution's answers can differ, for an input from 0 to 1.

        Converters fold a scaling of the input into its weights. None where it has another beginning.
        """
        (current,) = self._subgraph.integers(_INPUTS)
        for _ in range(_LONGEST_WAY):
            ways = [each for each in self._operators if current in each[1]]
            if len(ways) != 1:
                return None
            kind, inputs, outputs = ways[0]
            if kind == _CONVOLUTION:
                weights = self._values(inputs[1], _MOST_WEIGHTS)
                filters = self._tensors[inputs[1]].integers(_SHAPE)[0]
                sums = None if weights is None else np.abs(weights).reshape(filters, -1).sum(axis=1)
                # Not np.median, which imports numpy.ma: a megabyte in every daemon.
                return None if sums is None else float(np.sort(sums)[filters // 2])
            if kind not in _KEEPING | _PLACING | _PADDING:
                return None
            current = outputs[0]
        return None

    def ending(self) -> list[str]:
        """Return from the answer backwards what it comes from, leaving out what keeps its meaning."""
        makers = {tensor: (kind, inputs) for kind, inputs, outputs in self._operators for tensor in outputs}
        current, found = self._subgraph.integers(_OUTPUTS)[0], []
        for _ in range(_LONGEST_WAY):
            kind, inputs = makers.get(current, (-1, []))
            if not inputs:
                break
            if kind not in _KEEPING:
                found.append(_ENDS.get(kind, "other"))
            current = inputs[0]
        return found

    def features(self, output: int) -> int:
        """Return the tensor that the last layer with weights before an output is given, not yet flattened.

        Raises ValueError where no other layer with weights is before it.
        """
        (current,), depths = self._subgraph.integers(_INPUTS), {}
        depths[current] = 0
        for kind, inputs, outputs in self._operators:
            if before := [depths[tensor] for tensor in inputs if tensor in depths]:
                depths |= dict.fromkeys(outputs, max(before) + (kind in _WEIGHTED))
        makers = {tensor: (kind, inputs) for kind, inputs, outputs in self._operators for tensor in outputs}
        current = self._subgraph.integers(_OUTPUTS)[output]
        for _ in range(_LONGEST_WAY):
            kind, inputs = makers.get(current, (-1, [-1]))
            current = next((tensor for tensor in inputs if tensor in depths), -1)
            if kind in _WEIGHTED or kind not in _KEEPING | _AFTER_WEIGHTED:
                break
        if kind not in _WEIGHTED:
            raise ValueError(NO_LAST_LAYER)
        while makers.get(current, (-1,))[0] in _FLATTENING:
            current = makers[current][1][0]
        if not depths.get(current):
            raise ValueError(NO_LAYER_BEFORE)
        return current

    def with_output(self, tensor: int) -> bytes:
        """Return the file with one more output, the last."""
        return self._subgraph.with_integers(_OUTPUTS, [*self._subgraph.integers(_OUTPUTS), tensor])

    def _step(self, kind: Arithmetic, inputs: list[int], current: int) -> Step | None:
        if len(inputs) != 2 or (kind in {"subtract", "divide"} and inputs[0] != current):
            return None
        constant = self._constant(inputs[1] if inputs[0] == current else inputs[0])
        return None if constant is None else Step(kind, constant)

    def _constant(self, tensor: int) -> NDArray[np.floating] | None:
        return self._values(tensor, _MOST_VALUES)

    def _values(self, tensor: int, most: int) -> NDArray[np.floating] | None:
        fields = self._tensors[tensor]
        dtype = _TYPES.get(fields.number(_TYPE, byte=True))
        data = self._buffers[fields.number(_BUFFER)].blob(0)
        if dtype is None or not 0 < len(data) <= most * np.dtype(dtype).itemsize:
            return None
        values: NDArray[np.floating] = np.frombuffer(data, dtype).astype(np.float64)
        quantization = fields.table(_QUANTIZATION)
        scales = quantization.floats(_SCALES) if quantization else []
        if quantization and scales and scales[0]:
            zero_point = (quantization.longs(_ZERO_POINTS) or [0])[0]
            # A scale a channel is one a filter, of a first convolution.
            by_scale = (values - zero_point).reshape(len(scales), -1)
            values = (by_scale * np.array(scales)[:, np.newaxis]).ravel()
        return values
