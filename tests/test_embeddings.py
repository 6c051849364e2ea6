"""Embeddings: features of the layer before the classifier, as the library gives and archives keep them."""

import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from archives import MODEL, make_archive, parts, run
from daemons import PHOTOS
from dropsight import ImageInferenceRuntime
from dropsight.archive.rows import ArchiveRow, as_table, packed
from dropsight.archive.shard_parts import read_all
from dropsight.archive.storage import Storage
from dropsight.errors import ConfigError
from dropsight.models.backends import locate, open_model
from dropsight.models.features import pooled
from dropsight.models.spec import ModelOptions
from dropsight.models.tflite_graph import TFLiteGraph
from tiny_tflite import tiny

CONV, DENSE, MEAN, RELU, RESHAPE, SOFTMAX, QUANTIZE, ADD = 3, 9, 40, 19, 22, 25, 114, 0


def layer_of(photo: Path) -> NDArray[np.float32]:
    """What the bundled model's dense layer is given, by an interpreter that keeps all of its tensors."""
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings(action="ignore"):
        interpreter = Interpreter(
            model_path=str(locate(MODEL)), num_threads=1, experimental_preserve_all_tensors=True
        )
    interpreter.allocate_tensors()
    with ImageInferenceRuntime(MODEL, threads=1) as runtime:
        batch = runtime.plan.preparation.batch_of(_pixels(photo), ("original",)).batch
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
    interpreter.invoke()
    operators = interpreter._get_ops_details()  # noqa: SLF001 - no other way tells
    (dense,) = [each for each in operators if each["op_name"] == "FULLY_CONNECTED"]
    details = {each["index"]: each for each in interpreter.get_tensor_details()}[dense["inputs"][0]]
    scale, zero = details["quantization"]
    found: NDArray[np.float32] = (
        interpreter.get_tensor(details["index"]).astype(np.float32)[0] - zero
    ) * scale
    return found


def _pixels(photo: Path) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.cvtColor(np.asarray(cv2.imread(str(photo))), cv2.COLOR_BGR2RGB), np.uint8)


def test_the_bundled_model_gives_what_its_dense_layer_is_given_and_the_same_answers() -> None:
    photo = _pixels(PHOTOS[0])
    with ImageInferenceRuntime(MODEL, embeddings=True) as runtime, ImageInferenceRuntime(MODEL) as plain:
        found = runtime.embed(photo)
        assert (found.shape, str(found.dtype), runtime.spec.features) == ((1280,), "float32", 1280)
        assert found == pytest.approx(layer_of(PHOTOS[0]), abs=1e-5)
        assert runtime.predict(photo).predictions == plain.predict(photo).predictions
        assert runtime.spec.kernels == plain.spec.kernels
        assert plain.spec.features == 0
        with pytest.raises(ValueError, match="embeddings=True"):
            plain.embed(photo)
    with ImageInferenceRuntime(MODEL, embeddings=True, use_tta=True) as turned:
        assert turned.embed(photo) != pytest.approx(found, abs=1e-3)
        assert turned.embed(photo) == pytest.approx(found, abs=2)


class Layer(NamedTuple):
    kind: int
    inputs: list[int]
    output: int


def graph(*layers: Layer) -> TFLiteGraph:
    """Of tensor 0 to the last layer's; nothing of it is ever computed."""
    schema: Any = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT()
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [schema.BufferT()], [], []
    part = schema.SubGraphT()
    tensors = max(each.output for each in layers) + 1
    part.tensors = [schema.TensorT() for _ in range(tensors)]
    part.inputs, part.outputs, part.operators = [0], [layers[-1].output], []
    for layer in layers:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = layer.kind
        operator.opcodeIndex = len(model.operatorCodes)
        operator.inputs, operator.outputs = layer.inputs, [layer.output]
        model.operatorCodes.append(code)
        part.operators.append(operator)
    model.subgraphs.append(part)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return TFLiteGraph(bytes(builder.Output()))


@pytest.mark.parametrize(
    ("layers", "features"),
    [
        # MobileNet: mean, dense, softmax; with a bias of its own, and quantized at its end.
        ([Layer(CONV, [0, 9], 1), Layer(MEAN, [1], 2), Layer(DENSE, [2, 9], 3), Layer(SOFTMAX, [3], 4)], 2),
        ([Layer(CONV, [0], 1), Layer(DENSE, [1], 2), Layer(ADD, [9, 2], 3), Layer(QUANTIZE, [3], 4)], 1),
        # VGG: maps that are flattened are taken before that, and pooled.
        ([Layer(CONV, [0], 1), Layer(RESHAPE, [1], 2), Layer(DENSE, [2], 3)], 1),
        # SqueezeNet: the classes are pooled.
        ([Layer(CONV, [0], 1), Layer(CONV, [1], 2), Layer(RELU, [2], 3), Layer(MEAN, [3], 4)], 1),
    ],
)
def test_the_layer_before_the_one_that_classifies_is_found(layers: list[Layer], features: int) -> None:
    assert graph(*layers).features(0) == features


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([Layer(RESHAPE, [0], 1), Layer(DENSE, [1], 2)], "no other layer with weights is before"),
        ([Layer(CONV, [0], 1), Layer(77, [1], 2)], "does not come from a dense layer or a convolution"),
        ([Layer(RELU, [9], 1)], "does not come from"),
    ],
)
def test_a_graph_without_one_says_why(layers: list[Layer], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        graph(*layers).features(0)


def test_an_output_that_is_added_leaves_the_rest_of_the_file_as_it_was() -> None:
    data = locate(MODEL).read_bytes()
    changed = TFLiteGraph(TFLiteGraph(data).with_output(160))
    assert changed.names == TFLiteGraph(data).names
    assert changed.ending() == TFLiteGraph(data).ending()


def test_a_model_that_gives_none_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny([("float32", (1, 8, 8, 3))], [("float32", (1, 4))]))
    shutil.copy(PHOTOS[0], tmp_path / "a.jpg")
    with pytest.raises(
        ConfigError, match=r"tiny.tflite: this model gives no embeddings: its answer"
    ) as refused:
        run(tmp_path / "a.jpg", tmp_path / "out", model=str(path), embeddings=True)
    assert refused.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    assert open_model(path, options=ModelOptions()).spec.features == 0


def test_maps_are_pooled_to_a_mean_of_each_channel_wherever_channels_stand() -> None:
    maps = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    assert pooled(maps, 1).tolist() == [[10, 11, 12, 13]]
    assert pooled(maps, 1, channels=1).tolist() == [[5.5, 17.5]]
    assert pooled(maps.reshape(2, 12), 2).shape == (2, 12)


def test_what_float16_cannot_hold_is_the_most_that_it_can() -> None:
    row = ArchiveRow(
        path="a", status="ok", model_digest="d", embedding=packed(np.array([1e6, -1e6, 0.5], np.float32))
    )
    none = ArchiveRow(path="b", status="failed", model_digest="d")
    table = as_table([row, none], features=3)
    assert table["embedding"].to_pylist() == [[65504.0, -65504.0, 0.5], None]
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), 3)
    assert "embedding" not in as_table([row]).schema.names


@pytest.mark.slow
def test_an_archive_keeps_a_column_of_them_that_resuming_is_held_to(tmp_path: Path) -> None:
    source, out = make_archive(tmp_path / "cards", photos=3), tmp_path / "out"
    job = run(source, out, embeddings=True)
    assert (job.state, job.embeddings) == ("done", 1280)
    rows = [row for part in parts(out) for row in pq.read_table(part).to_pylist()]
    (kind,) = {str(pq.read_schema(part).field("embedding").type) for part in parts(out)}
    assert kind == "fixed_size_list<element: halffloat>[1280]"
    assert all((row["embedding"] is None) == (row["status"] == "failed" or bool(row["clip"])) for row in rows)
    with ImageInferenceRuntime(MODEL, threads=1, embeddings=True) as runtime:
        for row in [row for row in rows if row["embedding"]][-3:]:
            assert row["embedding"] == pytest.approx(runtime.embed(row["path"]), rel=1e-3, abs=1e-3)
    assert [row.path for row in read_all(Storage(str(out)))] == [row["path"] for row in rows]
    parts(out)[0].unlink()
    with pytest.raises(ConfigError, match="made with --embeddings"):
        run(source, out)
    assert run(source, out, embeddings=True).images == len(rows)
