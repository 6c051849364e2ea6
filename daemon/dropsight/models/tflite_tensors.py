"""What an interpreter tells of a model's tensors."""

import math
from pathlib import Path

import numpy as np

from dropsight.errors import ModelError
from dropsight.models.outputs import LONGEST_NAME
from dropsight.models.quantization import dequantize
from dropsight.models.spec import Scores, TensorSpec
from dropsight.models.tflite_file import TFLiteFile
from dropsight.models.tflite_runtimes import Details, Interpreter


def tensor_of(details: Details) -> TensorSpec:
    shape = details.get("shape_signature", ())
    if not isinstance(shape, np.ndarray) or not shape.size:  # runtimes before 2020 have no signature
        shape = details["shape"]
    quantization: tuple[float, int] = details["quantization"]  # type: ignore[assignment] # in all three
    return TensorSpec(
        name=str(details["name"])[:LONGEST_NAME],
        shape=tuple(int(size) for size in shape),  # type: ignore[attr-defined] # an array
        dtype=np.dtype(details["dtype"]),  # type: ignore[call-overload] # a scalar type
        scale=float(quantization[0]),
        zero_point=int(quantization[1]),
    )


def quantization_of(tensor: TensorSpec, file: TFLiteFile, interpreter: Interpreter) -> str:
    """Name what was done to the model's numbers: int8, uint8, int16, float16, dynamic or float32."""
    if np.issubdtype(tensor.dtype, np.integer):
        return tensor.dtype.name
    dtypes = {details["dtype"] for details in interpreter.get_tensor_details()}
    if np.int8 in dtypes:
        return "int8" if file.integer_graph else "dynamic"
    return "float16" if np.float16 in dtypes else "float32"


def check_scales(path: Path, *tensors: TensorSpec) -> None:
    for each in tensors:
        if not 0 <= each.scale < math.inf:
            raise ModelError(f"{path}: the file is damaged: the scale of {each.name} is {each.scale:g}")


def values_of(output: TensorSpec) -> Scores | None:
    """Return what each value of an 8-bit output stands for, by its bits; None for other outputs."""
    if output.dtype.itemsize != 1:
        return None
    return dequantize(np.arange(256, dtype=np.uint8).view(output.dtype), output)


def whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value
