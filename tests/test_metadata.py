"""Labels and normalisation out of TFLite metadata, as TF Hub's models carry it."""

import io
import zipfile
from pathlib import Path

import flatbuffers
import pytest

from dropsight.models.registry import locate, open_model
from dropsight.records import Normalization

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")


def vector_of(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def floats_of(builder: flatbuffers.Builder, values: list[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())


def table_of(
    builder: flatbuffers.Builder, offsets: dict[int, int], byte: tuple[int, int] | None = None
) -> int:
    """A table of offsets by field number, and one byte."""
    builder.StartObject(8)
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    if byte:
        builder.PrependInt8Slot(byte[0], byte[1], 0)
    return int(builder.EndObject())


def metadata(mean: float, std: float, labels: str) -> bytes:
    """By the field numbers of metadata_schema.fbs."""
    builder = flatbuffers.Builder(512)
    options = table_of(builder, {0: floats_of(builder, [mean]), 1: floats_of(builder, [std])})
    unit = table_of(builder, {1: options}, byte=(0, 1))
    inputs = table_of(builder, {4: vector_of(builder, [unit])})
    file = table_of(builder, {0: builder.CreateString(labels)}, byte=(2, 2))
    outputs = table_of(builder, {6: vector_of(builder, [file])})
    subgraph = table_of(builder, {2: vector_of(builder, [inputs]), 3: vector_of(builder, [outputs])})
    builder.Finish(table_of(builder, {3: vector_of(builder, [subgraph])}), b"M001")
    return bytes(builder.Output())


def with_metadata(model: bytes, block: bytes, files: dict[str, str]) -> bytes:
    """Put the block among the model's buffers, and the files into a zip behind it."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(block)
    tree.buffers.append(buffer)
    entry.name, entry.buffer = "TFLITE_METADATA", len(tree.buffers) - 1
    tree.metadata = [*(tree.metadata or []), entry]
    builder = flatbuffers.Builder(len(model) + 10_000)
    builder.Finish(tree.Pack(builder), b"TFL3")
    packed = io.BytesIO(bytes(builder.Output()))
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def test_normalization_and_labels_of_the_metadata_are_used_and_named(tmp_path: Path) -> None:
    names = "\n".join(f"thing {number}." for number in range(1000))
    block = metadata(127.5, 63.75, "names.txt")
    path = tmp_path / "hub.tflite"
    model = locate("builtin:efficientnet_lite0").read_bytes()
    path.write_bytes(with_metadata(model, block, {"names.txt": names}))
    (tmp_path / "hub.yaml").write_text("normalization: {mean: [1], std: [1]}")
    spec = open_model(path).spec
    assert spec.normalization == Normalization((127.5,), (63.75,))
    assert spec.labels[281] == "thing 281."
    assert (spec.normalization_from, spec.labels_from) == ("metadata", "metadata")


def test_damaged_metadata_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / "odd.tflite"
    model = locate("builtin:efficientnet_lite0").read_bytes()
    path.write_bytes(with_metadata(model, b"\xff" * 64, {}))
    assert open_model(path).spec.normalization_from == "default"
