"""ONNX models, by ONNX Runtime on the CPU."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from msgspec.structs import replace

from dropsight import installing
from dropsight.bounded import MODEL_BYTES, read_bounded
from dropsight.errors import ModelError
from dropsight.models.describing import UNIT_RANGE, OwnFacts
from dropsight.models.features import count_features, no_features, pooled
from dropsight.models.image_input import image_input
from dropsight.models.onnx_file import ONNXFile, with_output
from dropsight.models.onnx_weights import INTO_ONE, with_its_weights
from dropsight.models.outputs import Output, in_own_batches, joined
from dropsight.models.overrides import ModelOverrides
from dropsight.models.quantization import dequantize
from dropsight.models.spec import Batch, ModelOptions, ModelSpec, Scores, TensorSpec
from dropsight.models.specifying import FileFacts, specify
from dropsight.records import Framing, Normalization

IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""What torchvision and timm train most classifiers with, on 0..255."""

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}
_FATAL_ONLY = 4


class ONNXModel:
    """`outputs` are the numbers of those that are used, the main answer's first."""

    shared = False

    def __init__(self, content: bytes, spec: ModelSpec, session: Any, outputs: Sequence[int]) -> None:  # noqa: ANN401 - no types
        self.spec, self.outputs = spec, tuple(outputs)
        self._content, self.session = content, session
        self._input = session.get_inputs()[0].name
        names = [each.name for each in session.get_outputs()]
        self._names = [names[number] for number in self.outputs]
        self._tensors = [head.output for head in spec.heads] or [spec.output]
        if spec.features:
            self._names.append(names[-1])

    def scores(self, batch: Batch) -> Scores:
        """See Model.scores; a batch of fixed size is filled up with its last image."""
        return in_own_batches(batch, self.spec.taken[0], self._run)

    def replicate(self, *, threads: int | None = None) -> "ONNXModel":
        session = _session(self.spec.path, self._content, threads or _threads(self.session))
        return ONNXModel(self._content, self.spec, session, self.outputs)

    def _run(self, batch: Batch) -> Scores:
        taken = batch.reshape(len(batch), *self.spec.taken[1:])
        try:
            found = self.session.run(self._names, {self._input: taken})
        except Exception as error:
            raise ModelError(f"{self.spec.path}: {_reason(error)}") from error
        answers = [
            dequantize(np.asarray(each).reshape(len(batch), -1), tensor)
            for each, tensor in zip(found, self._tensors, strict=not self.spec.features)
        ]
        if self.spec.features:
            maps = np.asarray(found[-1], np.float32)
            answers.append(pooled(maps, len(batch), channels=1 if maps.ndim == 4 else -1))
        return joined(answers)


def open_onnx(
    path: Path, *, said: ModelOverrides, options: ModelOptions, agree: Callable[[], None] = lambda: None
) -> ONNXModel:
    """Load an .onnx classifier; raises ModelError."""
    _runtime(path)
    try:
        content = read_bounded(path, MODEL_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        content = with_its_weights(path, content)
        agree()
        file = ONNXFile(content)
        if file.weights_elsewhere:
            raise ModelError(f"{path}: weights within its operators are in another file; {INTO_ONE}")
        _check_task(path, file.metadata.get("task", "classify"))
        model = _model(path, content, file, said, _session(path, content, options.threads))
        return _with_features(model, content, file) if options.embeddings else model
    except ValueError as error:
        raise ModelError(f"{path}: the file is damaged or truncated: {error}") from error


def _model(path: Path, content: bytes, file: ONNXFile, said: ModelOverrides, session: Any) -> ONNXModel:  # noqa: ANN401 - no types
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise ModelError(f"{path}: not an image classifier: {len(inputs)} inputs, not one")
    image = image_input(path, said, _tensor(path, inputs[0]), file.size)
    activations = file.activations([each.name for each in outputs])
    answers = [
        Output(_tensor(path, each), activation, (each.name,))
        for each, activation in zip(outputs, activations, strict=True)
    ]
    ultralytics = file.metadata.get("author") == "Ultralytics"
    spec, numbers = specify(
        path,
        said,
        file=FileFacts("onnx", "onnxruntime", file.quantization, f"sha256:{sha256(content).hexdigest()}"),
        image=image,
        outputs=answers,
        own=OwnFacts(
            labels="\n".join(file.names) if file.names else None,
            normalization=UNIT_RANGE if ultralytics else None,
            left_by_graph=file.normalization(inputs[0].name),
            framing=Framing("crop", 1.0) if ultralytics else None,
            usual=IMAGENET if file.producer == "pytorch" else None,
        ),
    )
    return ONNXModel(content, spec, session, numbers)


def _with_features(model: ONNXModel, content: bytes, file: ONNXFile) -> ONNXModel:
    """Open it again with one more output, and see what that gives."""
    spec, session = model.spec, model.session
    outputs = [each.name for each in session.get_outputs()]
    try:
        tensor = file.features(outputs[model.outputs[0]], session.get_inputs()[0].name)
    except ValueError as error:
        raise no_features(spec.path, str(error)) from error
    content = with_output(content, tensor)
    session = _session(spec.path, content, _threads(session))
    count = count_features(ONNXModel(content, replace(spec, features=1), session, model.outputs))
    return ONNXModel(content, replace(spec, features=count), session, model.outputs)


def _runtime(path: Path) -> ModuleType:
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise ModelError(f"{path} needs ONNX Runtime: {installing.with_extra('onnx')}") from error


def _session(path: Path, content: bytes, threads: int) -> Any:  # noqa: ANN401 - ONNX Runtime ships no types
    runtime = _runtime(path)
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.log_severity_level = _FATAL_ONLY
    # Threads that wait by spinning take the cores from the other workers.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it: {_reason(error)}") from error


def _threads(session: Any) -> int:  # noqa: ANN401 - ONNX Runtime ships no types
    return int(session.get_session_options().intra_op_num_threads)


def _tensor(path: Path, found: Any) -> TensorSpec:  # noqa: ANN401 - ONNX Runtime ships no types
    """Describe an input or output; sizes that have names may be chosen."""
    if found.type not in _DTYPES:
        raise ModelError(f"{path}: not an image classifier: {found.name} is {found.type}")
    shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in found.shape)
    return TensorSpec(str(found.name), shape, np.dtype(_DTYPES[found.type]))


def _check_task(path: Path, task: str) -> None:
    """Ultralytics says what its models are for."""
    if task != "classify":
        raise ModelError(f"{path}: not an image classifier: it was exported for the task {task!r}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
