"""Writing TFLite metadata: what a model takes and what its classes are called, inside its file.

scripts/tflite_metadata.py model.tflite labels.txt -o named.tflite --mean 127 --std 128
"""

import argparse
import io
import zipfile
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("labels", type=Path, help="one name per line, in class order")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--mean", type=float, required=True)
    parser.add_argument("--std", type=float, required=True)
    args = parser.parse_args()
    block = metadata(args.mean, args.std, args.labels.name)
    files = {args.labels.name: args.labels.read_text(encoding="utf-8")}
    args.output.write_bytes(with_metadata(args.model.read_bytes(), block, files))


if __name__ == "__main__":
    main()
