"""The bundled classifier in floating point, wanting its pixels in any range and order of colors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from numpy.typing import NDArray

from dropsight.models.backends import locate

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

# What the weights were trained for.
MEAN, STD = 127.0, 128.0


def dequantized() -> Any:
    """Return the model of eight bits as one of floats, without metadata."""
    model = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs(locate("builtin:efficientnet_lite0").read_bytes(), 0)
    )
    for tensor in model.subgraphs[0].tensors:
        kind = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}[tensor.type]
        quantization, tensor.quantization = tensor.quantization, None
        if quantization is None or quantization.scale is None:
            continue
        tensor.type = schema.TensorType.FLOAT32
        buffer = model.buffers[tensor.buffer]
        if buffer.data is not None and len(buffer.data):
            values = np.asarray(buffer.data, np.uint8).view(kind).astype(np.float32).reshape(tensor.shape)
            shape = [1] * values.ndim
            shape[quantization.quantizedDimension if len(quantization.scale) > 1 else 0] = -1
            scale, zero = (np.reshape(each, shape) for each in (quantization.scale, quantization.zeroPoint))
            _fill(buffer, (values - zero) * scale)
    model.metadata = []
    return model


def wanting(
    mean: Sequence[float], std: Sequence[float], color_order: str = "RGB", *, any_size: bool = False
) -> bytes:
    """Return the model whose first weights take (pixel - mean) / std of the channels in this order."""
    model = dequantized()
    graph = model.subgraphs[0]
    if any_size:
        graph.tensors[graph.inputs[0]].shapeSignature = [1, -1, -1, 3]
    first = next(each for each in graph.operators if graph.inputs[0] in each.inputs)
    weights, bias = (graph.tensors[number] for number in first.inputs[1:3])
    filters, offsets = (
        np.frombuffer(bytes(model.buffers[each.buffer].data), np.float32).reshape(each.shape)
        for each in (weights, bias)
    )
    if color_order == "BGR":
        filters = filters[..., ::-1]
    shift = (np.asarray(mean) - MEAN) / STD * np.ones(3)
    _fill(model.buffers[bias.buffer], offsets + (filters * shift).sum(axis=(1, 2, 3)))
    _fill(model.buffers[weights.buffer], filters * (np.asarray(std) / STD))
    builder = flatbuffers.Builder(24_000_000)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _fill(buffer: Any, floats: NDArray[np.floating]) -> None:
    buffer.data = np.frombuffer(floats.astype(np.float32).tobytes(), np.uint8)


def float_model(folder: Path, name: str, *facts: object, any_size: bool = False) -> Path:
    path = folder / f"{name}.tflite"
    path.write_bytes(wanting(*facts, any_size=any_size))  # type: ignore[arg-type] # as there
    return path
