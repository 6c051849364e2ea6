"""Real numbers to a tensor's integers and back, by the tensor's own scale and zero point."""

import numpy as np
from numpy.typing import NDArray

from dropsight.models.spec import TensorSpec


def quantize(real: NDArray[np.floating], tensor: TensorSpec) -> NDArray[np.generic]:
    """Return an array of the tensor's dtype and the shape of `real`.

    q = round(real / scale) + zero_point, halves away from zero and clipped to the dtype, as the TFLite
    quantization specification has it. Tensors without a scale are cast, integers among them rounded.
    """
    if not tensor.quantized and np.issubdtype(tensor.dtype, np.floating):
        return real.astype(tensor.dtype)
    steps = np.asarray(real, np.float64) / (tensor.scale or 1.0)
    rounded = np.trunc(steps + np.copysign(0.5, steps)) + tensor.zero_point
    limits = np.iinfo(tensor.dtype.name)
    clipped: NDArray[np.generic] = np.clip(rounded, limits.min, limits.max).astype(tensor.dtype)
    return clipped


def dequantize(quantized: NDArray[np.generic], tensor: TensorSpec) -> NDArray[np.float32]:
    """Return (quantized - zero_point) * scale as float32, of the same shape."""
    if not tensor.quantized:
        return quantized.astype(np.float32)
    # In int8, -128 minus a zero point would wrap around.
    return ((quantized.astype(np.int64) - tensor.zero_point) * tensor.scale).astype(np.float32)
