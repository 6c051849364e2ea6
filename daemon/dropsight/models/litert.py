"""TFLite models, by whichever interpreter is installed: LiteRT, tflite-runtime or TensorFlow's own."""

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dropsight import installing
from dropsight.bounded import MODEL_BYTES, read_bounded
from dropsight.errors import ModelError
from dropsight.models.describing import ModelOverrides, check_input, describe
from dropsight.models.kernels import kernels_of
from dropsight.models.quantization import dequantize
from dropsight.models.spec import Batch, Kernels, ModelOptions, ModelSpec, Scores, TensorSpec
from dropsight.models.tflite_file import DAMAGE, TFLiteFile, is_whole, read_tflite

RUNTIMES = (
    "ai_edge_litert.interpreter:Interpreter",
    "tflite_runtime.interpreter:Interpreter",
    "tensorflow:lite.Interpreter",
)
"""Where an interpreter may come from, in the order in which they are tried."""

Details = Mapping[str, object]
_STDERR_TURNED = threading.Lock()


class Interpreter(Protocol):
    """What the three runtimes have in common, as far as it is used here."""

    def allocate_tensors(self) -> None: ...
    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int]) -> None: ...
    def get_input_details(self) -> list[Details]: ...
    def get_output_details(self) -> list[Details]: ...
    def get_tensor_details(self) -> list[Details]: ...
    def set_tensor(self, tensor_index: int, value: NDArray[np.generic]) -> None: ...
    def get_tensor(self, tensor_index: int) -> NDArray[np.generic]: ...
    def invoke(self) -> None: ...


class _InterpreterClass(Protocol):
    def __call__(self, *, model_content: bytes, num_threads: int) -> Interpreter: ...


@dataclass(frozen=True, slots=True)
class _Source:
    """The bytes are held in memory: a model file replaced in place must not pull the ground away."""

    path: Path
    content: bytes
    runtime: str
    interpreter: _InterpreterClass
    threads: int

    @property
    def name(self) -> str:
        return self.runtime.partition(":")[0].partition(".")[0]

    def kernels(self, interpreter: Interpreter) -> Kernels | None:
        """Which kernels compute the model; `interpreter` is one of it."""
        return kernels_of(
            interpreter, runtime=self.name, opens=lambda content: replace(self, content=content).open()
        )

    def open(self) -> Interpreter:
        """Raises ModelError for what this interpreter cannot load."""
        try:
            with _native_chatter_off():
                made = self.interpreter(model_content=self.content, num_threads=self.threads)
                made.allocate_tensors()
        except SystemError as error:
            raise ModelError(
                f"{self.name} does not work with this numpy; {installing.packages('numpy<2')}"
            ) from error
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"{self.path}: the TFLite interpreter cannot load it: {reason}") from error
        return made


@contextmanager
def _native_chatter_off() -> Iterator[None]:
    """Keep the runtime's own lines about delegates off stderr; its errors come as exceptions.

    One at a time: of two that overlap, the latter would bring back the former's nowhere.
    """
    with _STDERR_TURNED:
        sys.stderr.flush()
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class LiteRTModel:
    shared = False

    def __init__(self, source: _Source, spec: ModelSpec, interpreter: Interpreter) -> None:
        self.spec = spec
        self._source, self._interpreter = source, interpreter
        (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
        self._input, self._output = _whole(inputs["index"]), _whole(outputs["index"])
        self._batch = 1
        self._any_batch = spec.input.shape[0] == -1
        self._values = values_of(spec.output)

    def scores(self, batch: Batch) -> Scores:
        """See Model.scores; views of a batch of fixed size are invoked one by one."""
        if len(batch) != self._batch and self._any_batch:
            self._resize(len(batch))
        try:
            pieces = [
                self._invoke(batch[start : start + self._batch])
                for start in range(0, len(batch), self._batch)
            ]
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{self.spec.path}: {' '.join(str(error).split())}") from error
        output = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        if self._values is None:
            return dequantize(output, self.spec.output)
        return self._values[output.view(np.uint8)]

    def replicate(self, *, threads: int | None = None) -> "LiteRTModel":
        source = replace(self._source, threads=threads or self._source.threads)
        return LiteRTModel(source, self.spec, source.open())

    def _invoke(self, batch: Batch) -> NDArray[np.generic]:
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        # get_tensor copies: nothing may look into the interpreter's memory across an invoke.
        return self._interpreter.get_tensor(self._output).reshape(len(batch), -1)

    def _resize(self, batch: int) -> None:
        try:
            self._interpreter.resize_tensor_input(self._input, (batch, *self.spec.input.shape[1:]))
            self._interpreter.allocate_tensors()
            self._batch = batch
        except (RuntimeError, ValueError):
            # A reshape within the graph may insist on one image, whatever the signature says.
            self._any_batch, self._batch = False, 1
            self._interpreter = self._source.open()


def values_of(output: TensorSpec) -> Scores | None:
    """Return what each value of an 8-bit output stands for, by its bits; None for other outputs."""
    if output.dtype.itemsize != 1:
        return None
    return dequantize(np.arange(256, dtype=np.uint8).view(output.dtype), output)


def open_tflite(
    path: Path, *, said: ModelOverrides, options: ModelOptions, agree: Callable[[], None] = lambda: None
) -> LiteRTModel:
    """Load a .tflite classifier; raises ModelError."""
    runtime, interpreter_class = _runtime(path)
    try:
        content = read_bounded(path, MODEL_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    agree()
    if not is_whole(content):
        raise ModelError(f"{path}: the TFLite interpreter cannot load it: the file is damaged or truncated")
    source = _Source(path, content, runtime, interpreter_class, options.threads)
    interpreter = source.open()
    try:
        return LiteRTModel(source, _spec(source, interpreter, said), interpreter)
    except DAMAGE as error:
        raise ModelError(f"{path}: the file is damaged: {' '.join(str(error).split())}") from error


def _runtime(path: Path) -> tuple[str, _InterpreterClass]:
    for runtime in RUNTIMES:
        module, _, name = runtime.partition(":")
        try:
            return runtime, attrgetter(name)(import_module(module))
        except (ImportError, AttributeError):
            continue
    raise ModelError(f"{path} needs a TFLite interpreter: {installing.packages('ai-edge-litert')}")


def _spec(source: _Source, interpreter: Interpreter, said: ModelOverrides) -> ModelSpec:
    path = source.path
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path}: not an image classifier: {len(inputs)} inputs, {len(outputs)} outputs, not one of each"
        )
    tensor, output = _tensor(inputs[0]), _tensor(outputs[0])
    _check_tensors(path, tensor, output)
    file = read_tflite(source.content)
    description = describe(
        path,
        said,
        tensor=tensor,
        classes=_classes(output, file),
        metadata_labels=file.labels,
        metadata_normalization=file.normalization,
    )
    return ModelSpec(
        name=path.stem,
        path=path,
        format="tflite",
        backend=source.name,
        quantization=_quantization(tensor, file, interpreter),
        digest=f"sha256:{sha256(source.content).hexdigest()}",
        input=tensor,
        output=output,
        activation=file.activation,
        labels=description.labels,
        labels_from=description.labels_from,
        normalization=description.normalization,
        normalization_from=description.normalization_from,
        temperature=description.temperature,
        golden=description.golden,
        faults=file.faults,
        kernels=source.kernels(interpreter),
        layout=description.layout,
        layout_from=description.layout_from,
    )


def _check_tensors(path: Path, tensor: TensorSpec, output: TensorSpec) -> None:
    check_input(path, tensor)
    if output.shape[-1] < 1 or any(size not in {1, -1} for size in output.shape[:-1]):
        raise ModelError(
            f"{path}: not an image classifier: its output is {list(output.shape)}, not [batch, classes]"
        )
    for each in (tensor, output):
        if not 0 <= each.scale < math.inf:
            raise ModelError(f"{path}: the file is damaged: the scale of {each.name} is {each.scale:g}")


def _classes(output: TensorSpec, file: TFLiteFile) -> int:
    """A lone logistic score is that of the second of two classes."""
    classes = output.shape[-1]
    return 2 if classes == 1 and file.activation == "logistic" else classes


def _tensor(details: Details) -> TensorSpec:
    shape = details.get("shape_signature", ())
    if not isinstance(shape, np.ndarray) or not shape.size:  # runtimes before 2020 have no signature
        shape = details["shape"]
    quantization: tuple[float, int] = details["quantization"]  # type: ignore[assignment] # in all three
    return TensorSpec(
        name=str(details["name"]),
        shape=tuple(int(size) for size in shape),  # type: ignore[attr-defined] # an array
        dtype=np.dtype(details["dtype"]),  # type: ignore[call-overload] # a scalar type
        scale=float(quantization[0]),
        zero_point=int(quantization[1]),
    )


def _quantization(tensor: TensorSpec, file: TFLiteFile, interpreter: Interpreter) -> str:
    """Name what was done to the model's numbers: int8, uint8, int16, float16, dynamic or float32."""
    if np.issubdtype(tensor.dtype, np.integer):
        return tensor.dtype.name
    dtypes = {details["dtype"] for details in interpreter.get_tensor_details()}
    if np.int8 in dtypes:
        return "int8" if file.integer_graph else "dynamic"
    return "float16" if np.float16 in dtypes else "float32"


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value
