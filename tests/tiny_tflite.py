"""Models of a few hundred bytes, made by hand: inputs and outputs of any shape and kind."""

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

SHAPE, CUSTOM = 77, 32
KINDS = {"float32": 0, "int32": 2, "uint8": 3, "string": 5, "int8": 9}

Tensor = tuple[str, tuple[int, ...]]  # dtype and shape, of which -1 is open


def tiny(inputs: Sequence[Tensor], outputs: Sequence[Tensor], custom: str = "", answer: bytes = b"") -> bytes:
    """Return a model that looks at the shape of its first input; its outputs are constants: `answer`, or 0.

    `custom` names an operator that no interpreter knows, in its place.
    """
    model = schema.ModelT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [schema.SubGraphT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = CUSTOM if custom else SHAPE
    code.customCode, code.version = custom.encode() or None, 1
    model.operatorCodes = [code]
    (graph,) = model.subgraphs
    graph.tensors = [_tensor(f"in{number}", each) for number, each in enumerate(inputs)]
    graph.tensors.append(_tensor("seen", ("int32", (len(inputs[0][1]),))))
    for number, each in enumerate(outputs):
        tensor, buffer = _tensor(f"out{number}", each), schema.BufferT()
        size = int(np.prod([max(size, 1) for size in each[1]])) * np.dtype(each[0]).itemsize
        buffer.data = list(answer or bytes(size))
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0], [len(inputs)]
    if not custom:
        operator.builtinOptionsType = schema.BuiltinOptions.ShapeOptions
        operator.builtinOptions = schema.ShapeOptionsT()
        operator.builtinOptions.outType = KINDS["int32"]
    graph.operators = [operator]
    graph.inputs = list(range(len(inputs)))
    graph.outputs = [len(inputs) + 1 + number for number in range(len(outputs))]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def quick(folder: Path) -> Path:
    """Write a model that takes pictures of the usual size and no time, for crowds of images."""
    path = folder / "quick.tflite"
    path.write_bytes(tiny([("uint8", (1, 224, 224, 3))], [("float32", (1, 1000))]))
    return path


def of_any_size(path: Path) -> bytes:
    """Return a model as it is, but that it leaves height and width of its pictures open."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    (graph,) = model.subgraphs
    graph.tensors[graph.inputs[0]].shapeSignature = [1, -1, -1, 3]
    builder = flatbuffers.Builder(path.stat().st_size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, described: Tensor) -> schema.TensorT:
    kind, shape = described
    tensor = schema.TensorT()
    tensor.name, tensor.type = name.encode(), KINDS[kind]
    tensor.shape = [max(size, 1) for size in shape]
    tensor.shapeSignature = list(shape)
    return tensor
