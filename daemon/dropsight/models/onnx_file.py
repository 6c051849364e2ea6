"""What an .onnx file says of itself beyond its tensors: operators, constants, metadata.

Field numbers and data types are those of onnx.proto3.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropsight.models.features import NO_LAST_LAYER, NO_LAYER_BEFORE
from dropsight.models.protobuf import ProtoMessage, field_of_bytes
from dropsight.models.scaling import Arithmetic, Step, wanted_by
from dropsight.models.spec import Activation
from dropsight.records import Normalization

_GRAPH, _PRODUCER, _METADATA, _TRAINING, _FUNCTION = 7, 2, 14, 20, 25
_TRAINING_GRAPHS = (1, 2)
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_FUNCTION_NODE, _FUNCTION_ATTRIBUTE = 7, 11
_GRAPH_OUTPUT, _VALUE_NAME = 12, 1
_NODE_INPUT, _NODE_OUTPUT, _OP_TYPE, _ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 5, 10, 6, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_SPARSE_PARTS = (1, 2)
_DIMS, _DATA_TYPE, _FLOATS, _NAME, _RAW, _LOCATION = 1, 2, 4, 8, 9, 14
_FLOAT, _FLOAT16, _DOUBLE = 1, 10, 11
_DTYPES: dict[int, np.dtype[Any]] = {
    _FLOAT: np.dtype("<f4"),
    _FLOAT16: np.dtype("<f2"),
    _DOUBLE: np.dtype("<f8"),
}
MOST_NODES = 50_000
MOST_METADATA = 1_000
MOST_NAMES = 2**19
"""Characters of a text that is read as Python writes it, which takes hundreds of bytes for each."""
_DEEPEST = 16
_LARGEST_SIDE = 8192
# A constant on the input has a value for all channels, or one for each.
_MOST_VALUES = 4

# What ast raises for texts that are no list or mapping of numbers and names.
_UNREADABLE = (KeyError, ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError)

_ACTIVATIONS: dict[str, Activation] = {"Softmax": "softmax", "Sigmoid": "logistic"}
_SHAPING = {"Identity", "Cast", "Reshape", "Squeeze", "Flatten", "Unsqueeze", "Transpose"}
_WEIGHTED = {"Gemm", "MatMul", "Conv"}
# What a last layer's answer goes through.
_AFTER_WEIGHTED = {
    *_ACTIVATIONS,
    *_SHAPING,
    *("Add", "Relu", "GlobalAveragePool", "AveragePool", "ReduceMean", "QuantizeLinear", "DequantizeLinear"),
}
_QUANTIZING = {"QuantizeLinear", "DequantizeLinear"}
_DYNAMIC = {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
_ARITHMETIC: dict[str, Arithmetic] = {"Mul": "multiply", "Div": "divide", "Add": "add", "Sub": "subtract"}


class _Node(NamedTuple):
    kind: str
    inputs: list[str]
    outputs: list[str]


class ONNXFile:
    """Raises ValueError for damaged data, at whatever it is asked."""

    def __init__(self, data: bytes) -> None:
        self._model = ProtoMessage(memoryview(data))
        graphs = list(self._model.messages(_GRAPH))
        if len(graphs) != 1:
            raise ValueError("there is no graph in it")
        self._graph = graphs[0]
        self._nodes = [
            _Node(each.text(_OP_TYPE), each.texts(_NODE_INPUT), each.texts(_NODE_OUTPUT))
            for each in islice(self._graph.messages(_NODE), MOST_NODES + 1)
        ]
        if len(self._nodes) > MOST_NODES:
            raise ValueError(f"its graph has more than {MOST_NODES:,} operators")

    @property
    def producer(self) -> str:
        return self._model.text(_PRODUCER)

    @cached_property
    def metadata(self) -> Mapping[str, str]:
        found = list(islice(self._model.messages(_METADATA), MOST_METADATA + 1))
        if len(found) > MOST_METADATA:
            raise ValueError(f"it has more than {MOST_METADATA:,} entries of metadata")
        return {each.text(1): each.text(2) for each in found}

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """Return the labels that Ultralytics writes: a mapping from number to name, as Python shows it."""
        try:
            found = ast.literal_eval(self._short("names"))
            return tuple(str(found[number]) for number in range(len(found)))
        except _UNREADABLE:
            return None

    @property
    def size(self) -> tuple[int, int] | None:
        """Return height and width of the images that Ultralytics trained with."""
        try:
            height, width = map(int, ast.literal_eval(self._short("imgsz")))
            return (height, width) if 0 < min(height, width) <= max(height, width) <= _LARGEST_SIDE else None
        except _UNREADABLE:
            return None

    def _short(self, name: str) -> str:
        """Raises ValueError for a text that is too long, KeyError where there is none."""
        text = self.metadata[name]
        if len(text) > MOST_NAMES:
            raise ValueError(f"{name} has more than {MOST_NAMES:,} characters")
        return text

    @property
    def weights_elsewhere(self) -> bool:
        """Whether any tensor's values are in another file."""
        return any(_is_elsewhere(tensor) for tensor in self._tensors())

    @property
    def quantization(self) -> str:
        """Name what was done to the model's numbers: int8, dynamic, float16 or float32."""
        kinds = {node.kind for node in self._nodes}
        if kinds & _DYNAMIC:
            return "dynamic"
        if kinds & _QUANTIZING or any(kind.startswith("QLinear") for kind in kinds):
            return "int8"
        types = {tensor.number(_DATA_TYPE) for tensor in self._graph.messages(_INITIALIZER)}
        return "float16" if _FLOAT16 in types and _FLOAT not in types else "float32"

    def activations(self, outputs: Sequence[str]) -> list[Activation]:
        """Follow each output back through what does not change its meaning."""
        makers = {output: node for node in self._nodes for output in node.outputs}
        return [_activation(makers, output) for output in outputs]

    def features(self, output: str, image: str) -> str:
        """Return the tensor that the last layer with weights before an output is given, not yet flattened.

        Raises ValueError where no other layer with weights is between it and the image.
        """
        depths = {image: 0}
        for node in self._nodes:
            if before := [depths[name] for name in node.inputs if name in depths]:
                depths |= dict.fromkeys(node.outputs, max(before) + (node.kind in _WEIGHTED))
        makers = {name: node for node in self._nodes for name in node.outputs}
        current, kind = output, ""
        while current in makers and kind not in _WEIGHTED:
            kind, inputs, _ = makers[current]
            if kind not in _WEIGHTED | _AFTER_WEIGHTED:
                break
            current = next((name for name in inputs if name in depths), "")
        if kind not in _WEIGHTED:
            raise ValueError(NO_LAST_LAYER)
        while current in makers and makers[current].kind in _SHAPING:
            current = makers[current].inputs[0]
        if not depths.get(current):
            raise ValueError(NO_LAYER_BEFORE)
        return current

    def normalization(self, tensor: str) -> Normalization | None:
        """Return what pixels have to be made into, where the graph does the rest; None where it does not."""
        try:
            return wanted_by(_steps(self._nodes, self._constants(), tensor))
        except ValueError:  # of constants that do not go together
            return None

    def _tensors(self) -> Iterator[ProtoMessage]:
        yield from _tensors(self._graph, _DEEPEST)
        for training in self._model.messages(_TRAINING):
            for field in _TRAINING_GRAPHS:
                for graph in training.messages(field):
                    yield from _tensors(graph, _DEEPEST)
        for function in self._model.messages(_FUNCTION):
            for node in function.messages(_FUNCTION_NODE):
                yield from _of_attributes(node.messages(_ATTRIBUTE), _DEEPEST)
            yield from _of_attributes(function.messages(_FUNCTION_ATTRIBUTE), _DEEPEST)

    def _constants(self) -> dict[str, NDArray[np.float64]]:
        """Return the small ones, by name: initializers, and Constant nodes."""
        named = [(each.text(_NAME), each) for each in self._graph.messages(_INITIALIZER)]
        for node in self._graph.messages(_NODE):
            if node.text(_OP_TYPE) == "Constant":
                attributes = node.messages(_ATTRIBUTE)
                held = [each for one in attributes for each in one.messages(_ATTRIBUTE_TENSOR)]
                named += [(name, each) for name in node.texts(_NODE_OUTPUT) for each in held]
        values = ((name, _values(tensor)) for name, tensor in named)
        return {name: value for name, value in values if value is not None}


def with_output(data: bytes, tensor: str) -> bytes:
    """Return the file with one more output, the last: a message that comes twice is put together as one."""
    named = field_of_bytes(_VALUE_NAME, tensor.encode())
    return data + field_of_bytes(_GRAPH, field_of_bytes(_GRAPH_OUTPUT, named))


def _activation(makers: Mapping[str, _Node], output: str) -> Activation:
    for _ in range(len(makers) + 1):
        node = makers.get(output)
        if node is None or not node.inputs:
            break
        if node.kind in _ACTIVATIONS:
            return _ACTIVATIONS[node.kind]
        if node.kind not in _SHAPING | _QUANTIZING:
            break
        output = node.inputs[0]
    return "none"


def _steps(
    nodes: Sequence[_Node], constants: Mapping[str, NDArray[np.float64]], tensor: str
) -> Iterator[Step]:
    """Yield what is done to the input, as long as there is one way on."""
    users_of: dict[str, list[_Node]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.inputs):
            users_of.setdefault(name, []).append(node)
    for _ in range(len(nodes)):
        users = users_of.get(tensor, [])
        if len(users) != 1 or not users[0].outputs:
            return
        node = users[0]
        if kind := _ARITHMETIC.get(node.kind):
            other = [constants.get(name) for name in node.inputs if name != tensor]
            if len(other) != 1 or other[0] is None:
                return
            if node.inputs[0] != tensor and kind in {"subtract", "divide"}:
                return
            yield Step(kind, other[0])
        elif node.kind not in {"Identity", "Cast", "Transpose"} | _QUANTIZING:
            return
        tensor = node.outputs[0]


def _values(tensor: ProtoMessage) -> NDArray[np.float64] | None:
    """Return floats of a small tensor, flat; None of any other."""
    if _is_elsewhere(tensor) or np.prod(tensor.numbers(_DIMS) or [1]) > _MOST_VALUES:
        return None
    dtype = _DTYPES.get(tensor.number(_DATA_TYPE))
    if dtype is None:
        return None
    raw = b"".join(tensor.blobs(_RAW))
    if raw and len(raw) % dtype.itemsize == 0:
        values: NDArray[np.float64] = np.frombuffer(raw, dtype).astype(np.float64)
        return values
    floats = tensor.floats(_FLOATS)
    return np.array(floats, np.float64) if floats else None


def _is_elsewhere(tensor: ProtoMessage) -> bool:
    """0 says that the values are here; what else counts, ONNX Runtime decides by the lower bits alone."""
    return tensor.number(_LOCATION) != 0


def _tensors(graph: ProtoMessage, depth: int) -> Iterator[ProtoMessage]:
    """Yield all tensors of a graph, those of its nodes' attributes and of graphs within it among them."""
    if depth == 0:
        raise ValueError("its graphs are nested too deep")
    yield from graph.messages(_INITIALIZER)
    yield from _parts(graph.messages(_SPARSE_INITIALIZER))
    for node in graph.messages(_NODE):
        yield from _of_attributes(node.messages(_ATTRIBUTE), depth)


def _of_attributes(attributes: Iterable[ProtoMessage], depth: int) -> Iterator[ProtoMessage]:
    for attribute in attributes:
        for field in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            yield from attribute.messages(field)
        for field in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES):
            yield from _parts(attribute.messages(field))
        for field in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            for within in attribute.messages(field):
                yield from _tensors(within, depth - 1)


def _parts(sparse: Iterable[ProtoMessage]) -> Iterator[ProtoMessage]:
    """Yield values and places of sparse tensors."""
    for each in sparse:
        for field in _SPARSE_PARTS:
            yield from each.messages(field)
