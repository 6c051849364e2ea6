"""Devices that compute TFLite models: by a delegate, a shared library of their maker's, or LiteRT's GPU."""

from collections.abc import Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropsight.config import Delegate
from dropsight.errors import ModelError

LOADERS = {
    "ai_edge_litert": "ai_edge_litert.interpreter:load_delegate",
    "tflite_runtime": "tflite_runtime.interpreter:load_delegate",
    "tensorflow": "tensorflow:lite.experimental.load_delegate",
}
_TOO_OLD = "model.accelerator: gpu needs ai-edge-litert 2.1 or later"


def load(delegate: Delegate, runtime: str) -> object:
    """Load the library into this process; raises ModelError where it is not there or gives no delegate.

    It may as well end the process, or never return.
    """
    module, _, name = LOADERS[runtime].partition(":")
    loads = attrgetter(name)(import_module(module))
    try:
        return loads(delegate.library, delegate.options)
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            " ".join(str(error).split()) or "it returned no delegate and no error message"
        ) from error


class OnGPU:
    """A model that LiteRT compiles for the GPU, used as an interpreter; the details are that interpreter's.

    It computes in float32 as the CPU does, not in the float16 that it would choose.
    """

    def __init__(self, content: bytes, interpreter: Any) -> None:  # noqa: ANN401 - one of three runtimes'
        self.interpreter = interpreter
        self.get_input_details = interpreter.get_input_details
        self.get_output_details = interpreter.get_output_details
        self.get_tensor_details = interpreter.get_tensor_details
        try:
            self._model = _compiled(content)
            self._inputs, self._outputs = self._buffers("input"), self._buffers("output")
        except (ImportError, AttributeError, TypeError) as error:
            raise ModelError(_TOO_OLD) from error

    @property
    def is_whole(self) -> bool:
        """Whether all of the model is on the GPU, and nothing is left to the CPU."""
        return bool(self._model.is_fully_accelerated())

    def allocate_tensors(self) -> None:
        """They are there since it was compiled."""

    def resize_tensor_input(self, _: int, tensor_size: Sequence[int]) -> None:
        raise RuntimeError(f"the model cannot be resized on the GPU to {list(tensor_size)}")

    def set_tensor(self, tensor_index: int, value: NDArray[np.generic]) -> None:
        self._inputs[tensor_index][0].write(np.ascontiguousarray(value))

    def invoke(self) -> None:
        self._model.run_by_name(
            self._signature,
            {name: buffer for buffer, name, _ in self._inputs.values()},
            {name: buffer for buffer, name, _ in self._outputs.values()},
        )

    def get_tensor(self, tensor_index: int) -> NDArray[np.generic]:
        buffer, _, details = self._outputs[tensor_index]
        flat: NDArray[np.generic] = buffer.read(int(np.prod(details["shape"])), np.dtype(details["dtype"]))
        return flat.reshape(details["shape"])

    @property
    def _signature(self) -> str:
        return str(next(iter(self._model.get_signature_list())))

    def _buffers(self, side: str) -> dict[int, tuple[Any, str, dict[str, Any]]]:
        """Return by the tensor's number: the buffer, the signature's name for it, and its details."""
        model, signature = self._model, self._signature
        details = getattr(model, f"get_{side}_tensor_details")(signature)
        create = getattr(model, f"create_{side}_buffer_by_name")
        return {found["index"]: (create(signature, name), name, found) for name, found in details.items()}


def _compiled(content: bytes) -> Any:  # noqa: ANN401 - LiteRT ships no types
    litert = import_module("ai_edge_litert.compiled_model")
    kinds = litert.HardwareAccelerator
    options = litert.Options(
        hardware_accelerators=kinds.GPU | kinds.CPU, gpu_options=litert.GpuOptions(enforce_f32=True)
    )
    return litert.CompiledModel.from_buffer(content, options=options)
