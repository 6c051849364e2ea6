"""What a .tflite file says of itself beyond its tensors: operators, metadata, files packed behind it."""

import io
import lzma
import struct
import zipfile
import zlib

import msgspec

from dropsight.bounded import LABELS_BYTES
from dropsight.models.flatbuffer import Fields
from dropsight.models.labels import decoded
from dropsight.models.operators import custom_operators
from dropsight.models.spec import Activation
from dropsight.names import as_shown
from dropsight.records import Normalization

# Fields by number in schema.fbs.
_OPERATOR_CODES, _SUBGRAPHS, _BUFFERS, _METADATA, _SIGNATURES = 1, 2, 4, 6, 7
_SIGNATURE_OUTPUTS, _TENSOR_NAME, _TENSOR_INDEX = 1, 0, 1
_TENSORS, _OPERATORS, _SUBGRAPH_OUTPUTS = 0, 3, 2
_OPCODE_INDEX, _OP_INPUTS, _OP_OUTPUTS = 0, 1, 2
_DEPRECATED_CODE, _CODE = 0, 3
# BuiltinOperator in schema.fbs.
_DEQUANTIZE, _LOGISTIC, _RESHAPE, _SOFTMAX, _SQUEEZE, _QUANTIZE = 6, 14, 22, 25, 43, 114
_TRANSPARENT = {_DEQUANTIZE, _RESHAPE, _SQUEEZE, _QUANTIZE}
# Fields by number in metadata_schema.fbs.
_SUBGRAPH_METADATA, _INPUT_METADATA, _OUTPUT_METADATA = 3, 2, 3
_PROCESS_UNITS, _ASSOCIATED_FILES = 4, 6
_OPTIONS_TYPE, _OPTIONS, _NORMALIZATION_OPTIONS = 0, 1, 1
_FILE_NAME, _FILE_TYPE, _AXIS_LABELS, _VALUE_LABELS = 0, 2, 2, 3

MOST_PARTS = 100_000
"""Tensors and operators of all graphs, and parts of any other kind: large models have some thousands."""

DAMAGE = (struct.error, IndexError, ValueError, OverflowError, StopIteration, RuntimeError)
"""What reading a damaged file raises, here and in the interpreters, whose names need not be UTF-8."""

_NO_ZIP = (*DAMAGE, zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, lzma.LZMAError)


class TFLiteFile(msgspec.Struct, frozen=True):
    """`activations` and `output_names`, which its signature has or not, go by the outputs' numbers.

    `normalization` and `labels`, the text, are the metadata's, None where it has none.

    `faults` say what of them is there and cannot be read.
    """

    activations: tuple[Activation, ...]
    output_names: tuple[str, ...]
    integer_graph: bool
    normalization: Normalization | None
    labels: str | None
    faults: tuple[str, ...] = ()


def read_tflite(data: bytes) -> TFLiteFile:
    """Read a file that an interpreter has accepted; what is damaged beside the graph is a fault in it."""
    model = Fields.root(data)
    codes = [
        max(code.number(_DEPRECATED_CODE, byte=True), code.number(_CODE))
        for code in model.tables(_OPERATOR_CODES)
    ]
    subgraph = next(model.tables(_SUBGRAPHS))
    operators = list(subgraph.tables(_OPERATORS))
    kinds = [codes[operator.number(_OPCODE_INDEX)] for operator in operators]
    outputs = subgraph.integers(_SUBGRAPH_OUTPUTS)
    normalization, labels, faults = _described(model, data)
    return TFLiteFile(
        activations=_activations(operators, kinds, outputs),
        output_names=_output_names(model, outputs),
        integer_graph=_QUANTIZE in kinds[:1],
        normalization=normalization,
        labels=labels,
        faults=faults,
    )


def is_whole(data: bytes) -> bool:
    """Whether the graph can be read, in a time that no part of it prolongs, and all weights lie in the file.

    Interpreters of 2023 do not look, and a download cut short would end the process.
    """
    try:
        model = Fields.root(data)
        if (
            max(map(model.count, (_OPERATOR_CODES, _SUBGRAPHS, _BUFFERS, _METADATA, _SIGNATURES)))
            > MOST_PARTS
        ):
            return False
        subgraphs = list(model.tables(_SUBGRAPHS))
        if sum(graph.count(each) for graph in subgraphs for each in (_TENSORS, _OPERATORS)) > MOST_PARTS:
            return False
        custom_operators(data)
        operators = [list(subgraph.tables(_OPERATORS)) for subgraph in subgraphs]
        for operator in (each for graph in operators for each in graph):
            operator.integers(_OP_INPUTS)
            operator.integers(_OP_OUTPUTS)
        ends = [buffer.blob_end(0) for buffer in model.tables(_BUFFERS)]
    except DAMAGE:
        return False
    return any(operators) and max(ends, default=0) <= len(data)


def _activations(operators: list[Fields], kinds: list[int], outputs: list[int]) -> tuple[Activation, ...]:
    producers = {
        tensor: (kind, operator.integers(_OP_INPUTS))
        for operator, kind in zip(operators, kinds, strict=True)
        for tensor in operator.integers(_OP_OUTPUTS)
    }
    return tuple(_activation(output, dict(producers)) for output in outputs)


def _output_names(model: Fields, outputs: list[int]) -> tuple[str, ...]:
    """Return those of the first signature, empty where it has none."""
    signature = next(model.tables(_SIGNATURES), None)
    named = signature.tables(_SIGNATURE_OUTPUTS) if signature else ()
    names = {each.number(_TENSOR_INDEX): each.text(_TENSOR_NAME) for each in named}
    return tuple(names.get(output, "") for output in outputs)


def _activation(tensor: int, producers: dict[int, tuple[int, list[int]]]) -> Activation:
    """Follow an output back through what does not change its meaning."""
    while tensor in producers:
        kind, inputs = producers.pop(tensor)
        if kind == _SOFTMAX:
            return "softmax"
        if kind == _LOGISTIC:
            return "logistic"
        if kind not in _TRANSPARENT or not inputs:
            break
        tensor = inputs[0]
    return "none"


def _described(model: Fields, data: bytes) -> tuple[Normalization | None, str | None, tuple[str, ...]]:
    """Return normalization and labels of the metadata, and what cannot be read."""
    try:
        metadata = _metadata(model)
        normalization = _normalization(metadata) if metadata else None
        names = _label_files(metadata) if metadata else []
    except DAMAGE:
        return None, None, ("its metadata is damaged: its labels and normalization are ignored",)
    try:
        return normalization, _labels(names, data) if names else None, ()
    except _NO_ZIP as error:
        fault = as_shown(f"{names[0]}, the labels in its metadata, cannot be read: {error}")
        return normalization, None, (fault,)


def _metadata(model: Fields) -> Fields | None:
    """Return the subgraph's metadata, the TFLITE_METADATA buffer's own flatbuffer."""
    entry = next((entry for entry in model.tables(_METADATA) if entry.text(0) == "TFLITE_METADATA"), None)
    if entry is None:
        return None
    block = list(model.tables(_BUFFERS))[entry.number(1)].blob(0)
    return next(Fields.root(block).tables(_SUBGRAPH_METADATA), None)


def _normalization(metadata: Fields) -> Normalization | None:
    for tensor in metadata.tables(_INPUT_METADATA):
        for unit in tensor.tables(_PROCESS_UNITS):
            options = unit.table(_OPTIONS)
            if options and unit.number(_OPTIONS_TYPE, byte=True) == _NORMALIZATION_OPTIONS:
                mean, std = options.floats(0), options.floats(1)
                if mean and std:
                    return Normalization(tuple(mean), tuple(std))
    return None


def _label_files(metadata: Fields) -> list[str]:
    return [
        file.text(_FILE_NAME)
        for tensor in metadata.tables(_OUTPUT_METADATA)
        for file in tensor.tables(_ASSOCIATED_FILES)
        if file.number(_FILE_TYPE, byte=True) in {_AXIS_LABELS, _VALUE_LABELS}
    ]


def _labels(names: list[str], data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next((name for name in names if name in archive.namelist()), names[0])
        if archive.getinfo(name).file_size > LABELS_BYTES:
            raise ValueError(f"it has more than {LABELS_BYTES} bytes")
        return decoded(archive.read(name))
