"""ONNX models as timm, Ultralytics and quantizers export them, made here in the same form."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from daemons import PHOTOS, House, dropsight
from dropsight import ImageInferenceRuntime
from dropsight.errors import ModelError
from dropsight.explain.explaining import Explainer
from dropsight.models import backends, guesses, onnx_file
from dropsight.models.detecting import is_onnx
from dropsight.models.onnx_file import ONNXFile
from dropsight.models.registry import HEAD_BYTES
from dropsight.models.spec import Model

SIZE, CLASSES = 32, 5
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
FLOAT, HALF, BYTES = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
Node = Any  # onnx's messages have no useful types
KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
random = np.random.default_rng(7)
WEIGHTS = random.normal(size=(8, 3, 3, 3)).astype(np.float32)
DENSE = random.normal(size=(8, CLASSES)).astype(np.float32)


def constant(name: str, value: NDArray[np.generic]) -> Any:
    return numpy_helper.from_array(value, name)


def classifier(
    path: Path,
    *,
    before: Sequence[Node] = (),
    constants: Sequence[Any] = (),
    start: str = "images",
    after: Sequence[Node] = (),
    shape: Sequence[int | str] = ("batch", 3, SIZE, SIZE),
    dtype: int = FLOAT,
    producer: str = "pytorch",
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a small network: `before` leads from images to `start`, `after` from logits to the output."""
    half = dtype == HALF
    weights = [WEIGHTS.astype(np.float16), DENSE.astype(np.float16)] if half else [WEIGHTS, DENSE]
    nodes = [
        *before,
        helper.make_node("Conv", [start, "w"], ["conv"], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "d"], ["logits"]),
        *(after or [helper.make_node("Identity", ["logits"], ["output"])]),
    ]
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("images", dtype, shape)],
        [helper.make_tensor_value_info("output", HALF if half else FLOAT, [shape[0], CLASSES])],
        [constant("w", weights[0]), constant("d", weights[1]), *constants],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, producer_name=producer, opset_imports=opsets, ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def softmax() -> list[Node]:
    return [helper.make_node("Softmax", ["logits"], ["output"], axis=1)]


def ultralytics(path: Path, *, shape: Sequence[int | str] = ("batch", 3, SIZE, SIZE), **changes: str) -> Path:
    names = dict(enumerate(("tench", "ant's nest", "crane", "tub", "ox")))
    metadata = {"author": "Ultralytics", "task": "classify", "names": str(names), "imgsz": "[32, 32]"}
    return classifier(path, after=softmax(), shape=shape, metadata={**metadata, **changes})


def square(photo: Path) -> NDArray[np.uint8]:
    """Return RGB of the model's size, (height, width, 3)."""
    small = cv2.resize(np.asarray(cv2.imread(str(photo))), (SIZE, SIZE))
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)


def check(path: Path, *, mean: Any, std: Any, softmaxed: bool = False) -> Model:
    """Compare our answers on the sample photos with ONNX Runtime's own, by this normalisation."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    kind = KINDS[wanted.type]
    with ImageInferenceRuntime(path, top_k=CLASSES) as runtime:
        for photo in PHOTOS:
            pixels = square(photo)
            box = runtime.plan.preparation.frame(pixels).astype(np.float64)
            asked = ((box - mean) / std).astype(kind).transpose(2, 0, 1)[np.newaxis]
            scores = session.run(None, {wanted.name: asked})[0][0].astype(np.float64)
            expected = scores if softmaxed else np.exp(scores) / np.exp(scores).sum()
            for each in runtime.predict(pixels).predictions:
                bound = 2e-3 if kind is np.float16 else 1e-4
                assert each.confidence == pytest.approx(expected[each.class_index], abs=bound)
    return backends.open_model(path)


def test_timm_s_export_is_taken_with_imagenets_normalization_and_says_that_this_is_a_guess(
    tmp_path: Path,
) -> None:
    model = check(classifier(tmp_path / "timm.onnx"), mean=255 * MEAN, std=255 * STD)
    assert (model.spec.format, model.spec.layout, model.spec.activation) == ("onnx", "NCHW", "none")
    assert model.spec.quantization == "float32"
    assert "normalization is a guess" in (guesses.guess_of(model.spec) or "")


@pytest.mark.parametrize("ending", [[], softmax()])
def test_an_embedding_is_what_the_last_layer_with_weights_is_given(
    tmp_path: Path, ending: list[Node]
) -> None:
    path = classifier(tmp_path / "timm.onnx", after=ending)
    with ImageInferenceRuntime(path, embeddings=True) as runtime, ImageInferenceRuntime(path) as plain:
        assert runtime.spec.features == 8
        for photo in PHOTOS[:3]:
            found = runtime.embed(photo)
            logits = found @ DENSE
            expected = np.exp(logits) / np.exp(logits).sum()
            answer = runtime.predict(photo)
            for each in answer.predictions:
                assert each.confidence == pytest.approx(expected[each.class_index], abs=1e-5)
            assert answer.predictions == plain.predict(photo).predictions
        with pytest.raises(ValueError, match="embeddings=True"):
            plain.embed(PHOTOS[0])


def test_maps_before_a_convolution_that_classifies_are_pooled(tmp_path: Path) -> None:
    """As SqueezeNet has it: the pooling comes after the classes."""
    weights = random.normal(size=(CLASSES, 8, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["relu", "last"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["output"]),
    ]
    path = classifier(tmp_path / "squeeze.onnx", after=nodes, constants=[constant("last", weights)])
    with ImageInferenceRuntime(path, embeddings=True, top_k=CLASSES) as runtime:
        found = runtime.embed(PHOTOS[0])
        logits = weights[:, :, 0, 0] @ found
        (best, *_) = runtime.predict(PHOTOS[0]).predictions
        assert best.class_index == int(np.argmax(logits))
        assert best.confidence == pytest.approx(float(np.exp(logits).max() / np.exp(logits).sum()), abs=1e-5)


def test_ultralytics_export_is_taken_with_its_own_names_and_range(tmp_path: Path) -> None:
    model = check(ultralytics(tmp_path / "yolo.onnx"), mean=0, std=255, softmaxed=True)
    assert model.spec.labels[1] == "ant's nest"
    assert (model.spec.labels_from, model.spec.normalization_from) == ("metadata", "metadata")
    assert model.spec.activation == "softmax"
    assert model.spec.framing.central == 1.0
    assert guesses.guess_of(model.spec) is None


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_other_tasks_of_ultralytics_are_refused_by_name(tmp_path: Path, task: str) -> None:
    with pytest.raises(ModelError, match=f"exported for the task '{task}'"):
        backends.open_model(ultralytics(tmp_path / "yolo.onnx", task=task))


def test_a_graph_that_normalizes_pixels_itself_gets_0_to_255(tmp_path: Path) -> None:
    shape = (1, 3, 1, 1)
    nodes = [
        helper.make_node("Sub", ["images", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normed"]),
    ]
    for scale, std in ((255.0, 1.0), (1.0, 255.0)):
        values = [
            constant("mean", (scale * MEAN).astype(np.float32).reshape(shape)),
            constant("std", (scale * STD).astype(np.float32).reshape(shape)),
        ]
        path = classifier(tmp_path / f"{scale}.onnx", before=nodes, constants=values, start="normed")
        model = check(path, mean=0, std=std)
        assert model.spec.normalization_from == "graph"
        assert guesses.guess_of(model.spec) is None


def test_a_graph_that_takes_bytes_gets_pixels(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=FLOAT),
        helper.make_node("Mul", ["real", "scale"], ["normed"]),
    ]
    scale = constant("scale", np.array([1 / 255], np.float32))
    path = classifier(tmp_path / "m.onnx", before=nodes, constants=[scale], start="normed", dtype=BYTES)
    model = check(path, mean=0, std=1)
    assert guesses.guess_of(model.spec) is None


def test_half_precision_is_taken(tmp_path: Path) -> None:
    model = check(classifier(tmp_path / "m.onnx", dtype=HALF), mean=255 * MEAN, std=255 * STD)
    assert model.spec.quantization == "float16"


def test_int8_in_qdq_form_is_taken(tmp_path: Path) -> None:
    ends = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["images", *ends], ["small"]),
        helper.make_node("DequantizeLinear", ["small", *ends], ["real"]),
    ]
    values = [constant("scale", np.array(0.02, np.float32)), constant("zero", np.array(0, np.int8))]
    model = check(
        classifier(tmp_path / "m.onnx", before=nodes, constants=values, start="real"),
        mean=255 * MEAN,
        std=255 * STD,
    )
    assert model.spec.quantization == "int8"


def test_batches_of_any_and_of_fixed_size_have_the_answers_of_each(tmp_path: Path) -> None:
    batch = random.normal(size=(5, 3, SIZE, SIZE)).astype(np.float32)
    models = [
        backends.open_model(classifier(tmp_path / f"{size}.onnx", shape=(size, 3, SIZE, SIZE)))
        for size in ("batch", 1, 2)
    ]
    answers = [model.scores(batch) for model in models]
    assert answers[0].shape == (5, CLASSES)
    assert all(np.allclose(answers[0], each, atol=1e-5) for each in answers[1:])
    assert np.array_equal(models[0].replicate(threads=2).scores(batch), answers[0])


def test_a_size_that_is_open_is_set_or_guessed(tmp_path: Path) -> None:
    model = backends.open_model(classifier(tmp_path / "m.onnx", shape=("batch", 3, "height", "width")))
    assert model.spec.input.shape[1:] == (3, 224, 224)
    assert "input size" in (guesses.guess_of(model.spec) or "")
    shape = ("batch", 3, "height", "width")
    sized = backends.open_model(ultralytics(tmp_path / "yolo.onnx", shape=shape, imgsz="[64, 96]"))
    assert (sized.spec.input.shape[1:], sized.spec.size_from) == ((3, 64, 96), "metadata")
    assert guesses.guess_of(sized.spec) is None
    unread = backends.open_model(ultralytics(tmp_path / "odd.onnx", shape=shape, imgsz="[64, -1]"))
    assert unread.spec.size_from == "default"


@pytest.mark.slow
def test_explanations_without_gradients_and_the_command_line_work(tmp_path: Path) -> None:
    path = ultralytics(tmp_path / "yolo.onnx")
    explainer = Explainer(backends.open_model(path), "occlusion")
    assert explainer.explain(square(PHOTOS[0]))[0].heatmap.shape == (SIZE, SIZE)
    assert Explainer(backends.open_model(path)).method == "rise"
    shown = dropsight("inspect", str(path)).stdout
    assert "onnxruntime" in shown
    assert "NCHW" in shown
    assert not dropsight("classify", str(PHOTOS[0]), "--model", str(path)).stderr


@pytest.mark.slow
def test_the_daemon_classifies_by_onnx_and_tries_its_golden_image(tmp_path: Path) -> None:
    path = ultralytics(tmp_path / "yolo.onnx")
    expected = ImageInferenceRuntime(path).predict(PHOTOS[0])
    shutil.copy(PHOTOS[0], tmp_path / "golden.jpg")
    sidecar = path.with_suffix(".yaml")
    sidecar.write_text(f"golden: [{{image: golden.jpg, class: {expected.predicted_class}}}]")
    house = House(tmp_path, {"model": {"path": str(path)}})
    shutil.copy(PHOTOS[0], house.inbox)
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0, done.stderr
    (record,) = house.records()
    assert (record["model"]["format"], record["label"]) == ("onnx", expected.label)
    sidecar.write_text("golden: [{image: golden.jpg, class: 77}]")
    refused = dropsight("run", "-c", str(house.config), "--once")
    assert refused.returncode == 1
    assert "golden image" in refused.stderr


def test_a_file_cut_off_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    data = classifier(tmp_path / "whole.onnx").read_bytes()
    for part in range(16):
        (cut := tmp_path / f"{part}.onnx").write_bytes(data[: len(data) * part // 16])
        with pytest.raises(ModelError) as found:
            backends.open_model(cut)
        assert str(cut) in str(found.value)


def secret(path: Path) -> Any:
    """Return a tensor whose values are in another file."""
    tensor = TensorProto(name="secret", data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=str(path))
    return tensor


@pytest.mark.parametrize("place", ["attribute", "list", "sparse", "branch", "function", "training"])
def test_files_named_anywhere_in_a_model_are_never_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret").write_bytes(b"\0\0\0\0")
    tensor, attribute = secret(tmp_path / "secret"), onnx.AttributeProto(name="value")
    graph = onnx.GraphProto(initializer=[tensor])
    model = onnx.load(str(classifier(tmp_path / "m.onnx")))
    match place:
        case "attribute" | "function":
            attribute.t.CopyFrom(tensor)
        case "list":
            attribute.tensors.append(tensor)
        case "sparse":
            attribute.sparse_tensor.values.CopyFrom(tensor)
        case "branch":
            attribute.g.CopyFrom(graph)
        case "training":
            model.training_info.add().algorithm.CopyFrom(graph)
    node = onnx.NodeProto(op_type="Constant", output=["c"], attribute=[attribute])
    if place == "function":
        model.functions.add(name="F", domain="d", node=[node])
    else:
        model.graph.node.append(node)
    onnx.save(model, str(tmp_path / "x.onnx"))
    with pytest.raises(ModelError, match="weights within its operators are in another file"):
        backends.open_model(tmp_path / "x.onnx")


def test_a_place_of_weights_that_is_written_in_more_bits_than_it_has_hides_nothing() -> None:
    """ONNX Runtime keeps the lower 32 bits: 2 ** 32 + 1 is another file to it."""
    tensor = b"\x70\x81\x80\x80\x80\x10"
    assert onnx.TensorProto.FromString(tensor).data_location == TensorProto.EXTERNAL
    graph = bytes([0x2A, len(tensor)]) + tensor
    assert ONNXFile(bytes([8, 8, 0x3A, len(graph)]) + graph).weights_elsewhere


def test_a_field_whose_number_is_written_in_more_bits_than_it_has_hides_nothing() -> None:
    """ONNX Runtime keeps the lower 32 bits, and finds the place of weights in what we would pass over."""
    tensor = b"\xf0\x80\x80\x80\x10\x01"
    graph = bytes([0x2A, len(tensor)]) + tensor
    with pytest.raises(ValueError, match="no such number"):
        assert ONNXFile(bytes([8, 8, 0x3A, len(graph)]) + graph).weights_elsewhere


def test_operators_that_nobody_has_are_named(tmp_path: Path) -> None:
    odd = [helper.make_node("Fancy", ["images"], ["start"], domain="com.example")]
    path = classifier(tmp_path / "m.onnx", before=odd, start="start")
    with pytest.raises(ModelError, match="Fancy"):
        backends.open_model(path)


def test_megabytes_of_names_count_as_none(tmp_path: Path) -> None:
    """Read as Python writes them, they would take hundreds of times as much memory."""
    path = ultralytics(tmp_path / "m.onnx", names="[" + "'a'," * onnx_file.MOST_NAMES + "]")
    assert backends.open_model(path).spec.labels_from == "default"


def test_a_graph_of_more_operators_than_any_has_is_not_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "MOST_NODES", 3)
    with pytest.raises(ModelError, match="its graph has more than 3 operators"):
        backends.open_model(classifier(tmp_path / "m.onnx"))


def test_metadata_of_more_entries_than_any_has_is_not_read(tmp_path: Path) -> None:
    """300,000 took 21 s of each reload."""
    entries = {f"entry {number}": "" for number in range(onnx_file.MOST_METADATA + 1)}
    with pytest.raises(ModelError, match="more than 1,000 entries of metadata"):
        backends.open_model(classifier(tmp_path / "m.onnx", metadata=entries))


def test_what_is_no_onnx_is_not_taken_for_it(tmp_path: Path) -> None:
    whole = classifier(tmp_path / "m.onnx").read_bytes()
    assert is_onnx(tmp_path, whole[:HEAD_BYTES])
    heads = [photo.read_bytes()[:HEAD_BYTES] for photo in PHOTOS]
    assert not any(
        is_onnx(tmp_path, head) for head in [*heads, b"", b"\x08", b"\x08\x0a", b"\x08\x00\x12", b"PK"]
    )


@given(st.binary(max_size=200))
def test_noise_is_read_or_refused(data: bytes) -> None:
    for noise in (data, b"\x08\x08\x3a" + bytes([min(len(data), 127)]) + data):
        try:
            file = ONNXFile(noise)
            file.metadata, file.names, file.weights_elsewhere, file.quantization  # noqa: B018
            file.activations(["output"])
            file.normalization("images")
        except ValueError:
            continue
