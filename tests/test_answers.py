"""What a model's answer is: one of several classes, several at once, or no classes at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from daemons import PHOTOS, dropsight
from dropsight import ImageInferenceRuntime
from dropsight.config import load
from dropsight.errors import ModelError
from dropsight.models.backends import open_model
from dropsight.models.overrides import ModelOverrides
from teachable_machines import keras, tf

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore"),
]  # Keras and TensorFlow warn of each other


def write(folder: Path, *last: Any) -> tuple[Path, Any]:
    keras.utils.set_random_seed(4)
    first = keras.layers.Conv2D(6, 3, strides=4, padding="same", activation="relu")
    pooling = keras.layers.GlobalAveragePooling2D()
    model = keras.Sequential([keras.Input((32, 32, 3)), first, pooling, *last])
    path = folder / "m.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path, model


def picture() -> Any:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def test_an_answer_of_several_classes_at_once_says_so(tmp_path: Path) -> None:
    """Each has a probability of its own, and they need not add up to 1."""
    path, model = write(tmp_path, keras.layers.Dense(4, "sigmoid", bias_initializer="ones"))
    found = ImageInferenceRuntime(path, resize="stretch").predict(picture())
    assert found.multi_label is True
    sure = {each.label for each in found.predictions if each.confidence >= 0.5}
    assert {each.label for each in found.present or ()} == sure != set()
    wanted = np.asarray(model(picture()[np.newaxis] / np.float32(255)))[0]
    ours = [found.top_5_predictions[str(index)] for index in range(4)]
    np.testing.assert_allclose(ours, wanted, atol=1e-4)
    told = dropsight("inspect", str(path)).stdout
    assert "logistic: each class for itself, several may be there (multi-label)" in told


@pytest.mark.parametrize("last", [("softmax", 3), ("sigmoid", 1), (None, 1)])
def test_an_answer_of_classes_that_exclude_each_other_does_not(tmp_path: Path, last: tuple[Any, int]) -> None:
    activation, units = last
    path, _ = write(tmp_path, keras.layers.Dense(units, activation))
    assert ImageInferenceRuntime(path).predict(picture()).multi_label is msgspec.UNSET


def test_a_record_of_several_classes_at_once_says_so(tmp_path: Path) -> None:
    path, _ = write(tmp_path, keras.layers.Dense(4, "sigmoid"))
    (tmp_path / "inbox").mkdir()
    shutil.copy(PHOTOS[0], tmp_path / "inbox")
    done = dropsight(
        "run", "--watch", "inbox", "--model", str(path), "--log", "log.jsonl", "--once", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "log.jsonl").read_text())["multi_label"] is True


@pytest.mark.parametrize("shape", [(1280,), (1, 1, 1024)])
def test_an_embedding_without_labels_is_refused_with_the_way_out(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """Its numbers are features; `class 417` of them says nothing."""
    layers = keras.layers
    path, _ = write(tmp_path, layers.Dense(shape[-1]), layers.Reshape(shape))
    with pytest.raises(ModelError, match=r"not an image classifier: .* an embedding model: .*model\.labels"):
        open_model(path)
    (tmp_path / "labels.txt").write_text("".join(f"species {number}\n" for number in range(shape[-1])))
    assert len(open_model(path).spec.labels) == shape[-1]


def test_scores_of_imagenet_without_labels_are_no_embedding(tmp_path: Path) -> None:
    path, _ = write(tmp_path, keras.layers.Dense(1000), keras.layers.Reshape((1, 1, 1000)))
    assert open_model(path).spec.activation == "none"


def test_1001_classes_without_labels_are_imagenets_with_the_background(tmp_path: Path) -> None:
    path, _ = write(tmp_path, keras.layers.Dense(1001, "softmax"))
    spec = open_model(path).spec
    assert (len(spec.labels), spec.labels[:2]) == (1001, ("background", "tench"))
    assert spec.labels_from == "builtin:imagenet"


@pytest.mark.parametrize(("classes", "first"), [(1000, "tench"), (1001, "background")])
def test_labels_of_imagenet_fit_themselves_to_the_model(tmp_path: Path, classes: int, first: str) -> None:
    path, _ = write(tmp_path, keras.layers.Dense(classes, "softmax"))
    (tmp_path / "dropsight.yaml").write_text(f"model: {{path: {path}, labels: 'builtin:imagenet'}}")
    said = ModelOverrides.of(load(tmp_path / "dropsight.yaml").model)
    assert open_model(path, said=said).spec.labels[0] == first
    (tmp_path / "m.yaml").write_text("labels: builtin:imagenet")
    assert open_model(path).spec.labels[0] == first


def test_labels_of_imagenet_for_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    path, _ = write(tmp_path, keras.layers.Dense(3, "softmax"))
    with pytest.raises(ModelError, match=r"builtin:imagenet: for models of 1,000 or 1,001 classes, not of 3"):
        open_model(path, said=ModelOverrides(labels=Path("builtin:imagenet")))
