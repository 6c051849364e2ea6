"""TFLite models, by whichever interpreter is installed: LiteRT, tflite-runtime or TensorFlow's own."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.bounded import MODEL_BYTES, read_bounded
from dropsight.errors import ModelError
from dropsight.models.describing import OwnFacts
from dropsight.models.features import count_features, no_features, pooled
from dropsight.models.image_input import image_input
from dropsight.models.operators import (
    compiled_activation,
    computed_by_tensorflow,
    custom_operators,
    flex_operators,
    refuse_compiled,
    refuse_detector,
    refuse_outside,
)
from dropsight.models.outputs import Output, in_own_batches, joined
from dropsight.models.overrides import ModelOverrides
from dropsight.models.quantization import dequantize
from dropsight.models.scaling import usual_for, wanted_by
from dropsight.models.spec import Acceleration, Batch, ModelOptions, ModelSpec, Scores, TensorSpec
from dropsight.models.specifying import FileFacts, specify
from dropsight.models.teachable import TEACHABLE_MACHINE, made_by_teachable_machine
from dropsight.models.tflite_file import DAMAGE, TFLiteFile, is_whole, read_tflite
from dropsight.models.tflite_graph import TFLiteGraph
from dropsight.models.tflite_runtimes import Details, Interpreter, TFLiteSource, find_runtime
from dropsight.models.tflite_tensors import check_scales, quantization_of, tensor_of, values_of, whole


class LiteRTModel:
    """`outputs` are the numbers of those that are used, the main answer's first."""

    shared = False

    def __init__(
        self, source: TFLiteSource, spec: ModelSpec, interpreter: Interpreter, outputs: Sequence[int] = (0,)
    ) -> None:
        self.spec, self.outputs = spec, tuple(outputs)
        self._source, self._interpreter = source, interpreter
        (inputs,), found = interpreter.get_input_details(), interpreter.get_output_details()
        self._input = whole(inputs["index"])
        self._batch = max(spec.taken[0], 1)
        self._any_batch = spec.taken[0] == -1
        tensors = [head.output for head in spec.heads] or [spec.output]
        self._features = (whole(found[-1]["index"]), tensor_of(found[-1])) if spec.features else None
        self._answers = [
            (whole(found[number]["index"]), tensor, values_of(tensor))
            for number, tensor in zip(self.outputs, tensors, strict=True)
        ]
        self._lone_answer = self._answers[0] if len(self._answers) == 1 and not spec.features else None

    def scores(self, batch: Batch) -> Scores:
        """See Model.scores; a batch of fixed size is filled up with its last image."""
        if len(batch) != self._batch and self._any_batch:
            self._resize(len(batch))
        try:
            if len(batch) == self._batch:
                return self._invoke(batch)
            return in_own_batches(batch, self._batch, self._invoke)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{self.spec.path}: {' '.join(str(error).split())}") from error

    def replicate(self, *, threads: int | None = None) -> "LiteRTModel":
        options = msgspec.structs.replace(
            self._source.options, threads=threads or self._source.options.threads
        )
        source = msgspec.structs.replace(self._source, options=options)
        return LiteRTModel(source, self.spec, self._opened(source), self.outputs)

    def _invoke(self, batch: Batch) -> Scores:
        self._interpreter.set_tensor(self._input, batch.reshape(self._batch, *self.spec.taken[1:]))
        self._interpreter.invoke()
        if self._lone_answer:
            return self._answer(*self._lone_answer)
        answers = [self._answer(*each) for each in self._answers]
        if self._features:
            index, tensor = self._features
            answers.append(pooled(dequantize(self._interpreter.get_tensor(index), tensor), self._batch))
        return joined(answers)

    def _answer(self, index: int, tensor: TensorSpec, values: Scores | None) -> Scores:
        # get_tensor copies: nothing may look into the interpreter's memory across an invoke.
        output: NDArray[np.generic] = self._interpreter.get_tensor(index).reshape(self._batch, -1)
        return dequantize(output, tensor) if values is None else values[output.view(np.uint8)]

    def _resize(self, batch: int) -> None:
        try:
            self._interpreter.resize_tensor_input(self._input, (batch, *self.spec.taken[1:]))
            self._interpreter.allocate_tensors()
            self._batch = batch
        except (RuntimeError, ValueError):
            # A reshape within the graph may insist on one image, whatever the signature says.
            self._any_batch, self._batch = False, 1
            self._interpreter = self._opened(self._source)

    def _opened(self, source: TFLiteSource) -> Interpreter:
        return source.open(lambda _: self.spec.taken)


def open_tflite(
    path: Path, *, said: ModelOverrides, options: ModelOptions, agree: Callable[[], None] = lambda: None
) -> LiteRTModel:
    """Load a .tflite classifier; raises ModelError."""
    content = _read(path)
    agree()
    source, operators = _source(path, content, options)
    found: list[Acceleration | None] = []
    interpreter = source.open(
        lambda details: image_input(path, said, tensor_of(details)).taken,
        look=lambda fresh: found.append(source.acceleration(fresh)),
    )
    try:
        tensor, file = _only_input(path, interpreter), read_tflite(content)
        answers, own = _outputs(interpreter, file, operators), _own_facts(content, file, tensor.name)
        quantization = quantization_of(tensor, file, interpreter)
        (acceleration,), flex = found, flex_operators(operators)
        kernels = None if flex else source.kernels(interpreter, elsewhere=_taken(acceleration))
    except DAMAGE as error:
        raise ModelError(f"{path}: the file is damaged: {' '.join(str(error).split())}") from error
    check_scales(path, tensor, *(each.tensor for each in answers))
    digest = f"sha256:{sha256(content).hexdigest()}"
    spec, numbers = specify(
        path,
        said,
        file=FileFacts("tflite", source.name, quantization, digest),
        image=image_input(path, said, tensor),
        outputs=answers,
        own=own,
    )
    spec = msgspec.structs.replace(
        spec,
        faults=(*file.faults, *spec.faults, *computed_by_tensorflow(flex)),
        kernels=kernels,
        acceleration=acceleration,
    )
    model = LiteRTModel(source, spec, interpreter, numbers)
    return _with_features(model, source) if options.embeddings else model


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, MODEL_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def _source(path: Path, content: bytes, options: ModelOptions) -> tuple[TFLiteSource, list[str]]:
    """Return what opens interpreters of it, and its custom operators; raises ModelError where none can."""
    if not is_whole(content):
        raise ModelError(f"{path}: the TFLite interpreter cannot load it: the file is damaged or truncated")
    operators = custom_operators(content)
    if options.delegate is None:
        refuse_compiled(path, operators)
    refuse_detector(path, operators)
    refuse_outside(path, operators)
    runtime, interpreter_class = find_runtime(path, flex=flex_operators(operators))
    return TFLiteSource(path, content, runtime, interpreter_class, options), operators


def _with_features(model: LiteRTModel, source: TFLiteSource) -> LiteRTModel:
    """Open it again with one more output, which costs nothing; to keep all tensors costs their memory."""
    path, graph = source.path, TFLiteGraph(source.content)
    try:
        content = graph.with_output(graph.features(model.outputs[0]))
    except DAMAGE as error:
        raise no_features(path, str(error)) from error
    source = msgspec.structs.replace(source, content=content)
    interpreter = source.open(lambda _: model.spec.taken)
    count = count_features(
        LiteRTModel(source, msgspec.structs.replace(model.spec, features=1), interpreter, model.outputs)
    )
    return LiteRTModel(
        source, msgspec.structs.replace(model.spec, features=count), interpreter, model.outputs
    )


def _only_input(path: Path, interpreter: Interpreter) -> TensorSpec:
    inputs = [tensor_of(details) for details in interpreter.get_input_details()]
    if len(inputs) != 1:
        shapes = ", ".join(f"{each.name} {list(each.shape)}" for each in inputs)
        raise ModelError(f"{path}: not an image classifier: {len(inputs)} inputs, not one: {shapes}")
    return inputs[0]


def _own_facts(content: bytes, file: TFLiteFile, input_name: str) -> OwnFacts:
    graph = TFLiteGraph(content)
    teachable = made_by_teachable_machine(graph.names, graph.ending(), input_name=input_name)
    return OwnFacts(
        labels=file.labels,
        normalization=file.normalization,
        left_by_graph=wanted_by(graph.first_steps()),
        tool=TEACHABLE_MACHINE if teachable else None,
        usual=usual_for(graph.first_gain()),
    )


def _taken(acceleration: Acceleration | None) -> int:
    return acceleration.taken or 0 if acceleration else 0


def _outputs(interpreter: Interpreter, file: TFLiteFile, operators: Sequence[str]) -> list[Output]:
    found = [_as_allocated(details) for details in interpreter.get_output_details()]
    signed = [(name,) if name else () for name in file.output_names]
    return [
        Output(tensor, compiled_activation(tensor, operators) or activation, (*names, tensor.name))
        for tensor, activation, names in zip(found, file.activations, signed, strict=True)
    ]


def _as_allocated(details: Details) -> TensorSpec:
    """Where an output's own size depends on the input's, it is known now."""
    tensor = tensor_of(details)
    if -1 not in tensor.shape[1:]:
        return tensor
    shape: NDArray[np.integer] = details["shape"]  # type: ignore[assignment] # in all three
    return msgspec.structs.replace(tensor, shape=(tensor.shape[0], *map(int, shape[1:])))
