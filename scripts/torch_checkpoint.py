"""Reads the tensors of a PyTorch state dict (format before 1.6) without PyTorch, running none of its code.

The file is four pickles (magic, protocol, machine, tensors by name), the list of storage keys, and then
each storage as a count of elements (int64) and its raw values, all little-endian.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


@dataclass(frozen=True, slots=True)
class _StoredTensor:
    storage_key: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in elements


def read_state_dict(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return the arrays by name; raises ValueError for anything but such a file."""
    with path.open("rb") as file:
        if pickle.load(file) != MAGIC or pickle.load(file) != PROTOCOL:  # noqa: S301 - two whole numbers
            raise ValueError(f"{path} is no PyTorch checkpoint in the format before 1.6")
        _TensorUnpickler(file).load()
        unpickler = _TensorUnpickler(file)
        tensors = unpickler.load()
        keys = _TensorUnpickler(file).load()
        storages = {key: _read_storage(file, unpickler.dtypes[key]) for key in keys}
    return {name: _cut(storages[tensor.storage_key], tensor) for name, tensor in tensors.items()}


class _TensorUnpickler(pickle.Unpickler):
    """Knows the two names that a state dict needs, and refuses every other."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _stored_tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise ValueError(f"the checkpoint names {module}.{name}, which no state dict needs")

    def persistent_load(self, pid: Sequence[str]) -> str:
        _, dtype, key, *_ = pid
        self.dtypes[key] = dtype
        return key


def _stored_tensor(
    key: str, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _StoredTensor:
    return _StoredTensor(key, offset, tuple(shape), tuple(stride))


def _read_storage(file: BinaryIO, dtype: str) -> NDArray[np.generic]:
    (count,) = struct.unpack("<q", file.read(8))
    return np.frombuffer(file.read(count * np.dtype(dtype).itemsize), dtype)


def _cut(storage: NDArray[np.generic], tensor: _StoredTensor) -> NDArray[np.generic]:
    elements = storage[tensor.offset :]
    strides = [step * storage.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(elements, tensor.shape, strides).copy()
