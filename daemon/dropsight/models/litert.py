"""TFLite models, by whichever interpreter is installed: LiteRT, tflite-runtime or TensorFlow's own."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropsight.bounded import MODEL_BYTES, read_bounded
from dropsight.errors import ModelError
from dropsight.models.describing import ModelOverrides, describe
from dropsight.models.quantization import dequantize
from dropsight.models.spec import Batch, ModelOptions, ModelSpec, Scores, TensorSpec
from dropsight.models.tflite_file import DAMAGE, TFLiteFile, is_whole, read_tflite
from dropsight.models.tflite_runtimes import Interpreter, TFLiteSource, find_runtime
from dropsight.models.tflite_tensors import check_tensors, quantization_of, tensor_of, values_of, whole


class LiteRTModel:
    shared = False

    def __init__(self, source: TFLiteSource, spec: ModelSpec, interpreter: Interpreter) -> None:
        self.spec = spec
        self._source, self._interpreter = source, interpreter
        (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
        self._input, self._output = whole(inputs["index"]), whole(outputs["index"])
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


def open_tflite(
    path: Path, *, said: ModelOverrides, options: ModelOptions, agree: Callable[[], None] = lambda: None
) -> LiteRTModel:
    """Load a .tflite classifier; raises ModelError."""
    runtime, interpreter_class = find_runtime(path)
    try:
        content = read_bounded(path, MODEL_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    agree()
    if not is_whole(content):
        raise ModelError(f"{path}: the TFLite interpreter cannot load it: the file is damaged or truncated")
    source = TFLiteSource(path, content, runtime, interpreter_class, options.threads)
    interpreter = source.open()
    try:
        return LiteRTModel(source, _spec(source, interpreter, said), interpreter)
    except DAMAGE as error:
        raise ModelError(f"{path}: the file is damaged: {' '.join(str(error).split())}") from error


def _spec(source: TFLiteSource, interpreter: Interpreter, said: ModelOverrides) -> ModelSpec:
    path = source.path
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path}: not an image classifier: {len(inputs)} inputs, {len(outputs)} outputs, not one of each"
        )
    tensor, output = tensor_of(inputs[0]), tensor_of(outputs[0])
    check_tensors(path, tensor, output)
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
        quantization=quantization_of(tensor, file, interpreter),
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


def _classes(output: TensorSpec, file: TFLiteFile) -> int:
    """A lone logistic score is that of the second of two classes."""
    classes = output.shape[-1]
    return 2 if classes == 1 and file.activation == "logistic" else classes
