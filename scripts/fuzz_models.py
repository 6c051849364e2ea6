"""Models for scripts/fuzz.py, their labels and sidecars, and what reads them."""

import contextlib
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from dropsight.errors import ModelError
from dropsight.models.backends import locate
from dropsight.models.groups import find_groups
from dropsight.models.label_files import FoundLabels, unnamed
from dropsight.models.labels import decoded as decoded_text
from dropsight.models.labels import read_groups, read_labels
from dropsight.models.onnx_file import ONNXFile
from dropsight.models.onnx_weights import with_its_weights
from dropsight.models.outputs import Output, choose
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import Sidecar, read_sidecar
from dropsight.models.spec import TensorSpec
from dropsight.models.tflite_file import is_whole, read_tflite
from dropsight.models.thresholds import thresholds_of
from fuzz import Throw
from fuzz_throwing import LAUGHS, a_file
from tflite_metadata import metadata, with_metadata


def models() -> list[bytes]:
    """The bundled graph without its weights, with metadata: what the readers read, and little else."""
    tree = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs(locate("builtin:efficientnet_lite0").read_bytes(), 0)
    )
    for buffer in tree.buffers:
        if buffer.data is not None and len(buffer.data) > 64:
            buffer.data = None
    builder = flatbuffers.Builder(2**16)
    builder.Finish(tree.Pack(builder), b"TFL3")
    block = metadata(127.5, 63.75, "names.txt")
    return [with_metadata(bytes(builder.Output()), block, {"names.txt": "cat\ndog\n"})]


def read_model(data: bytes) -> None:
    if is_whole(data):
        read_tflite(data)


def onnx_models() -> list[bytes]:
    """A Softmax of a scaled input, with labels and a size."""

    def node(kind: bytes, *tensors: bytes) -> bytes:
        *inputs, output = tensors
        return packed((1, inputs), (2, [output]), (4, [kind]))

    scale = b"\x10\x01" + packed((4, [b"\x81\x80\x80\x3b"]), (8, [b"s"]))
    graph = packed((1, [node(b"Mul", b"x", b"s", b"y"), node(b"Softmax", b"y", b"z")]), (5, [scale]))
    texts = [packed((1, [b"names"]), (2, [b"{0: 'a'}"])), packed((1, [b"imgsz"]), (2, [b"[8, 8]"]))]
    return [b"\x08\x08" + packed((2, [b"pytorch"]), (7, [graph]), (14, texts))]


def packed(*fields: tuple[int, list[bytes]]) -> bytes:
    """Write a short protocol buffer of texts and messages."""
    written = ((bytes([number << 3 | 2, len(each)]), each) for number, many in fields for each in many)
    return b"".join(head + each for head, each in written)


def read_onnx(data: bytes) -> None:
    file = ONNXFile(data)
    file.activations(["z"])
    file.normalization("x")
    _ = file.names, file.size, file.quantization, file.weights_elsewhere


def parted() -> list[bytes]:
    """Two tensors whose values lie in w.data."""

    def place(**said: str) -> list[bytes]:
        return [packed((1, [key.encode()]), (2, [value.encode()])) for key, value in said.items()]

    one = b"\x08\x02\x10\x01" + packed((8, [b"s"]), (13, place(location="w.data", offset="8", length="8")))
    other = b"\x08\x01\x10\x01" + packed((13, place(location="w.data")))
    graph = packed((5, [one + b"\x70\x01", other + b"\x70\x01"]), (11, [b"x"]))
    return [b"\x08\x08" + packed((2, [b"pytorch"]), (7, [graph]))]


def weighed(path: Path) -> None:
    """Put a model together; ONNXFile then reads what comes of it."""
    path.with_name("w.data").write_bytes(bytes(range(64)))
    with contextlib.suppress(ValueError):
        read_onnx(with_its_weights(path, path.read_bytes()))


def labels() -> list[bytes]:
    forms = (
        "cat\ndog\n",
        "0 cat\n1: dog\n",
        '{"0": "cat", "1": ["n02", "dog"]}',
        '[{"id": 0, "name": "cat"}]',
    )
    grouped = "class;group\ncat;pet\nlynx;\n"
    table, items = 'index,name\n0,"cat, black"\n1,dog\n', "item { id: 1 display_name: 'cat' }\n"
    return [*(form.encode() for form in (*forms, table, items, grouped)), "chäs\n".encode("utf-16")]


def read_names(data: bytes) -> None:
    text = decoded_text(data)
    read_labels(text)
    read_groups(text)


def a_sidecar() -> AbstractContextManager[Throw]:
    return a_file("m.yaml", described, ModelError)


def described(path: Path) -> None:
    """Read a sidecar, and what it says of a model of 50 classes."""
    model, output = path.with_suffix(".tflite"), TensorSpec("out", (1, 50), np.dtype(np.float32))
    sidecar = read_sidecar(model) or Sidecar()
    labels = FoundLabels(unnamed(50), "default")
    find_groups(model, ModelOverrides(), sidecar, labels, multi_label=False)
    wanted = {str(name): least for name, least in sidecar.thresholds.items()}
    thresholds_of(model, wanted, [(Output(output, "logistic"), labels.names)])
    choose(model, ModelOverrides(), sidecar, [Output(output, "logistic", ("out",))])


def sidecars() -> list[bytes]:
    whole = (
        "labels: names.txt\nnormalization: {mean: [127.5], std: [1, 2, 3]}\ntemperature: 1.3\n"
        "input_size: [224, 224]\nheads: {species: 0, sex: {output: 1, labels: sexes.txt}}\ncolor_order: BGR\n"
        "golden:\n  - {image: cat.jpg, class: tabby, confidence: 0.9, tolerance: 0.1}\n"
    )
    groups = "groups: {cat: [class 3, '*4*'], dog: 7-9, all: &a ['*', 0-49], none: *a}\nunknown: 0.6\n"
    return [whole.encode(), LAUGHS, f"{groups}thresholds: {{class 3: 0.3, '*': 0.6}}\noutput: out\n".encode()]
