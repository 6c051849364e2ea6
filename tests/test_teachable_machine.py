"""Teachable Machine's four exports are known by what is in them, and read as its own page reads pictures."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from dropsight import GradCAM, ImageInferenceRuntime
from dropsight.errors import ModelError
from dropsight.models.backends import open_model
from dropsight.models.gradient_model import KerasGradients
from dropsight.models.guesses import guess_of
from dropsight.records import Framing, Normalization
from teachable_machines import SIDE, description, keras, model, tf, write_h5, write_tflite

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore"),
]  # Keras and TensorFlow warn of each other

EXPORTS = ("h5", "saved_model", "tflite", "quantized")


class Exports(NamedTuple):
    whole: Any
    paths: dict[str, Path]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Each in a folder of its own, under a name that says nothing, its labels beside it."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in EXPORTS}
    for folder in folders.values():
        (folder / "labels.txt").write_text("0 Mug\n1 Flask\n2 Nothing\n")
    whole, saved_model = model(), folders["saved_model"] / "m"
    whole.export(saved_model, verbose=False)
    write_h5(whole, folders["h5"] / "m.h5")
    paths = {
        "h5": folders["h5"] / "m.h5",
        "saved_model": saved_model,
        "tflite": write_tflite(folders["tflite"], saved_model, quantized=False),
        "quantized": write_tflite(folders["quantized"], saved_model, quantized=True),
    }
    return Exports(whole, paths)


def pictures() -> list[Any]:
    """Colored gradients, wider than high and higher than wide, of sizes that need no resampling."""
    chance = np.random.default_rng(0)
    return [chance.integers(0, 256, shape, np.uint8) for shape in ((SIDE, 90, 3), (100, SIDE, 3))]


def central(picture: Any) -> Any:
    top, left = ((size - SIDE) // 2 for size in picture.shape[:2])
    return picture[top : top + SIDE, left : left + SIDE]


def as_its_page_does(picture: Any) -> Any:
    """Take the whole central square, then pixel / 127.5 - 1."""
    return central(picture).astype(np.float32) / 127.5 - 1


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_of_teachable_machine_is_known_by_its_content(exports: Exports, kind: str) -> None:
    spec = open_model(exports.paths[kind]).spec
    assert (spec.framing, spec.framing_from) == (Framing("crop", 1.0), "Teachable Machine")
    assert spec.labels == ("Mug", "Flask", "Nothing")
    assert guess_of(spec) is None
    if kind != "quantized":
        wanted = (Normalization((127.5,), (127.5,)), "Teachable Machine")
        assert (spec.normalization, spec.normalization_from) == wanted


@pytest.mark.parametrize("kind", EXPORTS)
def test_its_answers_are_the_frameworks_own(exports: Exports, kind: str) -> None:
    """The quantized one takes the pixels themselves; it may be a step of its output off."""
    runtime = ImageInferenceRuntime(exports.paths[kind], top_k=3)
    for picture in pictures():
        if kind == "quantized":
            wanted = by_interpreter(exports.paths[kind], picture)
        else:
            wanted = np.asarray(exports.whole(as_its_page_does(picture)[np.newaxis]))[0]
        found = runtime.predict(picture).top_5_predictions
        ours = [found.get(str(index), 0.0) for index in range(3)]
        np.testing.assert_allclose(ours, wanted, atol=1 / 256 if kind == "quantized" else 1e-4)


def by_interpreter(path: Path, picture: Any) -> Any:
    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(inputs["index"], central(picture)[np.newaxis])
    interpreter.invoke()
    return interpreter.get_tensor(outputs["index"])[0] / 256


def test_what_config_and_sidecar_say_counts_before_the_tool(exports: Exports, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(exports.paths["tflite"].read_bytes())
    (tmp_path / "m.yaml").write_text("normalization: {mean: [0], std: [255]}\ncentral: 0.5\n")
    spec = open_model(path).spec
    assert spec.normalization == Normalization((0.0,), (255.0,))
    assert spec.framing == Framing("crop", 0.5)


def test_maps_by_gradients_explain_a_legacy_h5(exports: Exports) -> None:
    gradients = KerasGradients.open(exports.paths["h5"])
    heatmap = GradCAM(gradients).compute_heatmap(as_its_page_does(pictures()[0]), 1)
    assert heatmap.shape == (SIDE, SIDE)


def legacy(tmp_path: Path, config: dict[str, Any]) -> Path:
    h5py: Any = pytest.importorskip("h5py")

    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as archive:
        archive.attrs["model_config"] = json.dumps(config)
        archive.attrs["keras_version"] = "2.4.0"
    return path


def test_a_lambda_layer_in_a_legacy_h5_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    """It is code."""
    config = description()
    config["config"]["layers"].append({"class_name": "Lambda", "config": {"name": "f", "function": ["4wE"]}})
    with pytest.raises(ModelError, match="Lambda layer is code"):
        open_model(legacy(tmp_path, config))


def test_a_legacy_h5_with_an_unknown_layer_is_one_clear_error(tmp_path: Path) -> None:
    config = description()
    config["config"]["layers"].append({"class_name": "Attention3D", "config": {"name": "a"}})
    with pytest.raises(ModelError, match=r"Keras cannot load it: .*Attention3D"):
        open_model(legacy(tmp_path, config))


def test_arithmetic_of_tensorflow_slashes_and_leaks_in_a_legacy_h5_are_mended(tmp_path: Path) -> None:
    """As keras.applications' preprocess_input and DenseNet left them."""
    layers = keras.layers
    image = keras.Input((16, 16, 3), name="input_2")
    found = layers.Conv2D(4, 3, name="conv1_conv")(layers.Rescaling(1 / 127.5, -1)(image))
    found = layers.Flatten(name="flatten")(layers.LeakyReLU(negative_slope=0.3, name="leaky")(found))
    whole = keras.Model(image, layers.Dense(2, "softmax", name="dense")(found))
    path = tmp_path / "m.h5"
    whole.save(path)
    arithmetic = [("tf.math.truediv", "math.truediv", 127.5), ("tf.math.subtract", "math.subtract", 1.0)]
    nodes: list[dict[str, Any]] = []
    source = "input_2"
    for name, function, constant in arithmetic:
        config = {"name": name, "trainable": True, "dtype": "float32", "function": function}
        inbound = [[source, 0, 0, {"y": constant, "name": None}]]
        nodes.append({"class_name": "TFOpLambda", "config": config, "name": name, "inbound_nodes": inbound})
        source = name
    rest: list[tuple[str, dict[str, Any], str]] = [
        ("Conv2D", {"name": "conv1/conv", "filters": 4, "kernel_size": [3, 3]}, source),
        ("LeakyReLU", {"name": "leaky", "alpha": 0.3}, "conv1/conv"),
        ("Flatten", {"name": "flatten"}, "leaky"),
        ("Dense", {"name": "dense", "units": 2, "activation": "softmax"}, "flatten"),
    ]
    nodes += [
        {
            "class_name": kind,
            "config": config,
            "name": config["name"],
            "inbound_nodes": [[[before, 0, 0, {}]]],
        }
        for kind, config, before in rest
    ]
    shape = {"batch_input_shape": [None, 16, 16, 3], "name": "input_2"}
    first = {"class_name": "InputLayer", "config": shape, "name": "input_2", "inbound_nodes": []}
    ends = {"input_layers": [["input_2", 0, 0]], "output_layers": [["dense", 0, 0]]}
    config = {"class_name": "Functional", "config": {"name": "m", "layers": [first, *nodes], **ends}}
    h5py: Any = pytest.importorskip("h5py")

    with h5py.File(path, "r+") as archive:
        archive.attrs["model_config"], archive.attrs["keras_version"] = json.dumps(config), "2.8.0"
    found_model = open_model(path)
    batch = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(found_model.scores(batch), np.asarray(whole(batch)), atol=1e-4)
    assert (found_model.spec.normalization, found_model.spec.normalization_from) == (
        Normalization((0.0,), (1.0,)),
        "graph",
    )
