"""Operators of a .tflite that are no part of TFLite: whose they are, and what to do."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dropsight import installing
from dropsight.errors import ModelError
from dropsight.models.flatbuffer import Fields
from dropsight.models.spec import Activation, TensorSpec
from dropsight.names import as_shown

# Fields by number in schema.fbs, and the BuiltinOperator of custom ones.
_OPERATOR_CODES, _DEPRECATED_CODE, _CUSTOM_NAME, _CODE = 1, 0, 1, 3
_CUSTOM = 32
_FLEX = "Flex"
_COMPILED = {
    "edgetpu-custom-op": ("the Edge TPU", "the compiler"),
    "ethos-u": ("an Ethos-U processor", "Vela, its compiler"),
}
_OUTSIDE = re.compile(
    r"(?!ShardedFile).*(File|Dataset|Reader|PyFunc|Rpc|Grpc|BigQuery).*"
    r"|Debug(Identity|NanCount|NumericSummary)\w*|Write\w*Summary|CreateSummary\w+|Print(V2)?|DumpTensor"
    r"|Abort|(En|De)codeProto\w*|DTensorRestore\w*"
    r"|CalibrationStatisticsSaver|DistributedSave|RecordInput|Save|SaveSlices|Restore|RestoreSlice"
    r"|ImmutableConst|LoadAndRemapMatrix|GenerateVocabRemapping|FixedUnigramCandidateSampler|Skipgram"
    r"|RemoteCall|RemoteFusedGraphExecute|XlaLaunch\w*|XlaCustomCall\w*"
)
"""Those of TensorFlow that write and read files, ask other machines, or run what is not in the graph.

Among them what ends the process, by its own wish and as if all was well.
"""
_LOWEST = {"uint8": 0, "int8": -128}
_DETECTION = "TFLite_Detection_PostProcess"


def custom_operators(content: bytes) -> list[str]:
    """Return the names of those that are not TFLite's own."""
    codes = Fields.root(content).tables(_OPERATOR_CODES)
    return [
        as_shown(code.text(_CUSTOM_NAME))
        for code in codes
        if max(code.number(_DEPRECATED_CODE, byte=True), code.number(_CODE)) == _CUSTOM
    ]


def flex_operators(operators: Sequence[str]) -> list[str]:
    """Return those that TensorFlow itself computes."""
    return [name for name in operators if name.startswith(_FLEX)]


def outside_of_graph(operators: Iterable[str]) -> list[str]:
    """Return those of TensorFlow's that reach out of a model."""
    return [name for name in operators if _OUTSIDE.fullmatch(name)]


def reaches_out(path: Path, operators: Sequence[str]) -> str:
    return f"{path}: its {', '.join(operators)} reaches out of the model, to files or code: it is not loaded"


def refuse_outside(path: Path, operators: Sequence[str]) -> None:
    """Raise ModelError for what TensorFlow's own interpreter would do beyond the model."""
    flex = [name.removeprefix(_FLEX) for name in flex_operators(operators)]
    if found := outside_of_graph(flex):
        raise ModelError(reaches_out(path, found))


def refuse_compiled(path: Path, operators: Sequence[str]) -> None:
    """Raise ModelError for what was compiled for a processor that only its delegate knows."""
    for name in operators:
        if name in _COMPILED:
            processor, compiler = _COMPILED[name]
            raise ModelError(
                f"{path}: compiled for {processor}: give the .tflite from before {compiler}, "
                "or set model.delegate"
            )


def compiled_activation(tensor: TensorSpec, operators: Sequence[str]) -> Activation | None:
    """Return what a compiled graph hides, by the numbers that TFLite lays down for a softmax's output."""
    hidden = any(name in _COMPILED for name in operators)
    lowest = _LOWEST.get(tensor.dtype.name)
    return "softmax" if hidden and (tensor.scale, tensor.zero_point) == (1 / 256, lowest) else None


def refuse_detector(path: Path, operators: Sequence[str]) -> None:
    if _DETECTION in operators:
        raise ModelError(
            f"{path}: not an image classifier, but an object detector (boxes, and what is in them): "
            "give a model that answers with one class for the whole image"
        )


def needs_tensorflow(path: Path, flex: Sequence[str], *, installed: bool) -> ModelError:
    """Say what lacks: from 2.19 on, TensorFlow's interpreter knows no operators of TensorFlow's own."""
    whose = "the interpreter of this TensorFlow" if installed else "TFLite"
    way_out = "TensorFlow before 2.19 has them" if installed else installing.packages("tensorflow<2.19")
    return ModelError(
        f"{path}: it has operators of TensorFlow's own ({', '.join(flex)}), which {whose} lacks: {way_out}; "
        "or give the Keras model or SavedModel that it was made of, or convert it without SELECT_TF_OPS"
    )


def unknown_to_tflite(path: Path, operators: Sequence[str]) -> ModelError:
    return ModelError(
        f"{path}: it has operators that TFLite lacks ({', '.join(operators)}): made for another runtime, "
        "such as MediaPipe's; give a model of TFLite's operators only"
    )


def computed_by_tensorflow(flex: Sequence[str]) -> tuple[str, ...]:
    """Say what it costs."""
    if not flex:
        return ()
    return (f"its operators {', '.join(flex)} are TensorFlow's own, which takes more memory and time",)
