"""TFLite models, by whichever interpreter is installed: LiteRT, tflite-runtime or TensorFlow's own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.bounded import MODEL_BYTES, read_bounded
from dropsight.errors import ModelError
from dropsight.models.describing import OwnFacts, describe, heads_of
from dropsight.models.image_input import image_input
from dropsight.models.operators import (
    compiled_activation,
    computed_by_tensorflow,
    custom_operators,
    flex_operators,
    refuse_compiled,
    refuse_detector,
)
from dropsight.models.outputs import Output, choose
from dropsight.models.overrides import ModelOverrides
from dropsight.models.quantization import dequantize
from dropsight.models.scaling import usual_for, wanted_by
from dropsight.models.sidecar import Sidecar, read_sidecar
from dropsight.models.spec import Acceleration, Batch, ModelOptions, ModelSpec, Scores, TensorSpec
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
        self._answers = [
            (whole(found[number]["index"]), tensor, values_of(tensor))
            for number, tensor in zip(self.outputs, tensors, strict=True)
        ]

    def scores(self, batch: Batch) -> Scores:
        """See Model.scores; a batch of fixed size is filled up with its last image."""
        if len(batch) != self._batch and self._any_batch:
            self._resize(len(batch))
        starts = range(0, len(batch), self._batch)
        try:
            pieces = [self._invoke(batch[start : start + self._batch]) for start in starts]
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{self.spec.path}: {' '.join(str(error).split())}") from error
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def replicate(self, *, threads: int | None = None) -> "LiteRTModel":
        options = msgspec.structs.replace(
            self._source.options, threads=threads or self._source.options.threads
        )
        source = replace(self._source, options=options)
        return LiteRTModel(source, self.spec, self._opened(source), self.outputs)

    def _invoke(self, batch: Batch) -> Scores:
        count = len(batch)
        if count < self._batch:
            batch = np.concatenate([batch, np.repeat(batch[-1:], self._batch - count, axis=0)])
        self._interpreter.set_tensor(self._input, batch.reshape(self._batch, *self.spec.taken[1:]))
        self._interpreter.invoke()
        answers = [self._answer(*each)[:count] for each in self._answers]
        return answers[0] if len(answers) == 1 else np.concatenate(answers, axis=1)

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
    try:
        content = read_bounded(path, MODEL_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    agree()
    if not is_whole(content):
        raise ModelError(f"{path}: the TFLite interpreter cannot load it: the file is damaged or truncated")
    operators = custom_operators(content)
    if options.delegate is None:
        refuse_compiled(path, operators)
    refuse_detector(path, operators)
    runtime, interpreter_class = find_runtime(path, flex=flex_operators(operators))
    source = TFLiteSource(path, content, runtime, interpreter_class, options)
    found: list[Acceleration | None] = []
    interpreter = source.open(
        lambda details: image_input(path, said, tensor_of(details)).taken,
        look=lambda fresh: found.append(source.acceleration(fresh)),
    )
    try:
        return _model(source, interpreter, said, found[0])
    except DAMAGE as error:
        raise ModelError(f"{path}: the file is damaged: {' '.join(str(error).split())}") from error


def _model(
    source: TFLiteSource, interpreter: Interpreter, said: ModelOverrides, acceleration: Acceleration | None
) -> LiteRTModel:
    path, inputs = source.path, interpreter.get_input_details()
    if len(inputs) != 1:
        shapes = ", ".join(f"{each['name']} {list(tensor_of(each).shape)}" for each in inputs)
        raise ModelError(f"{path}: not an image classifier: {len(inputs)} inputs, not one: {shapes}")
    file, flex = read_tflite(source.content), flex_operators(custom_operators(source.content))
    image = image_input(path, said, tensor_of(inputs[0]))
    answers = _outputs(interpreter, file, custom_operators(source.content))
    chosen = choose(path, said, read_sidecar(path) or Sidecar(), answers)
    main = chosen[0].output
    check_scales(path, image.tensor, *(each.output.tensor for each in chosen))
    description = describe(
        path,
        msgspec.structs.replace(said, labels=chosen[0].labels or said.labels),
        tensor=image.tensor,
        image=image,
        classes=main.classes,
        answer=main,
        own=_own_facts(source.content, file, str(inputs[0]["name"])),
    )
    spec = ModelSpec(
        name=path.stem,
        path=path,
        format="tflite",
        backend=source.name,
        quantization=quantization_of(image.tensor, file, interpreter),
        digest=f"sha256:{sha256(source.content).hexdigest()}",
        input=image.tensor,
        output=main.tensor,
        activation=main.activation,
        labels=description.labels,
        labels_from=description.labels_from,
        normalization=description.normalization,
        normalization_from=description.normalization_from,
        temperature=description.temperature,
        golden=description.golden,
        faults=(*file.faults, *description.faults, *computed_by_tensorflow(flex)),
        kernels=None if flex else source.kernels(interpreter, elsewhere=_taken(acceleration)),
        acceleration=acceleration,
        layout=image.layout,
        layout_from=image.layout_from,
        taken=image.taken,
        size_from=image.size_from,
        outputs=len(answers),
        heads=heads_of(chosen, description),
        color_order=description.color_order,
        color_order_from=description.color_order_from,
        framing=description.framing,
        framing_from=description.framing_from,
    )
    return LiteRTModel(source, spec, interpreter, [each.number for each in chosen])


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
    return replace(tensor, shape=(tensor.shape[0], *map(int, shape[1:])))
