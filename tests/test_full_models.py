"""Keras models, SavedModels, and falling back to them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight, dropsight_in_here, faults, running
from dropsight import ImageInferenceRuntime, ImageResult
from dropsight.errors import ModelError
from dropsight.models.backends import open_first, open_model
from dropsight.models.spec import Batch, Scores
from dropsight.models.tf_graph import TensorFlowModel

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Keras and TensorFlow warn of each other
]


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("keras")


def layers_of(keras: Any, last: str | None) -> list[Any]:
    return [
        keras.layers.Conv2D(4, 3, strides=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation=last),
    ]


def sequential(keras: Any, last: str | None = "softmax") -> Any:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((32, 32, 3)), *layers_of(keras, last)])


def functional(keras: Any, last: str | None = "softmax") -> Any:
    keras.utils.set_random_seed(1)
    inputs = tensor = keras.Input((32, 32, 3))
    for layer in layers_of(keras, last):
        tensor = layer(tensor)
    return keras.Model(inputs, tensor)


def reference(model: Any) -> list[float]:
    """What Keras itself says of a mid-gray picture, pixels in 0..1."""
    gray = np.full((1, 32, 32, 3), 51 / 255, np.float32)
    return [float(score) for score in np.asarray(model(gray))[0]]


def scores_of(path: Path) -> list[float]:
    runtime = ImageInferenceRuntime(path)
    result = runtime.predict(np.full((64, 64, 3), 51, np.uint8))
    by_class = {each.class_index: each.confidence for each in result.predictions}
    return [by_class[number] for number in range(3)]


@pytest.mark.parametrize("make", [sequential, functional])
@pytest.mark.parametrize("form", ["m.keras", "m.h5", "exported", "saved"])
def test_every_format_says_what_keras_itself_says(keras: Any, tmp_path: Path, make: Any, form: str) -> None:
    model = make(keras)
    path = tmp_path / form
    if form == "exported":
        model.export(path, verbose=False)
    elif form == "saved":
        import tensorflow as tf

        wanted = tf.TensorSpec([None, 32, 32, 3], tf.float32)
        served = tf.function(lambda image: {"scores": model(image)}, input_signature=[wanted])
        tf.saved_model.save(model, str(path), signatures={"serve": served})
    else:
        model.save(path)
    assert scores_of(path) == pytest.approx(reference(model), abs=1e-5)
    expected = "saved_model" if form in {"exported", "saved"} else "keras"
    assert open_model(path).spec.format == expected
    assert open_model(path).spec.activation == "softmax"


@pytest.mark.parametrize("form", ["m.keras", "nested.keras", "exported"])
def test_embeddings_are_what_the_dense_layer_is_given(keras: Any, tmp_path: Path, form: str) -> None:
    model, path = functional(keras), tmp_path / form
    whole = keras.Sequential([keras.Input((32, 32, 3)), model]) if form == "nested.keras" else model
    if form == "exported":
        whole.export(path, verbose=False)
    else:
        whole.save(path)
    photo = np.full((32, 32, 3), (200, 51, 90), np.uint8)
    expected = keras.Model(model.inputs, model.layers[-2].output)(photo[np.newaxis] / np.float32(255))
    with ImageInferenceRuntime(path, embeddings=True) as runtime, ImageInferenceRuntime(path) as plain:
        assert runtime.spec.features == 4
        assert runtime.embed(photo) == pytest.approx(np.asarray(expected)[0], rel=1e-4)
        assert runtime.predict(photo).confidence == pytest.approx(plain.predict(photo).confidence, abs=1e-5)


def test_logits_are_softmaxed_once_and_probabilities_not_again(keras: Any, tmp_path: Path) -> None:
    sequential(keras, None).save(tmp_path / "logits.keras")
    sequential(keras).save(tmp_path / "soft.keras")
    assert open_model(tmp_path / "logits.keras").spec.activation == "none"
    assert scores_of(tmp_path / "logits.keras") == pytest.approx(scores_of(tmp_path / "soft.keras"), abs=1e-5)


def test_subclassed_models_are_opened_where_their_class_is_known(keras: Any, tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("dropsight_tests")
    class Subclassed(keras.Model):  # type: ignore[misc] # Keras ships no types
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.steps = layers_of(keras, "softmax")

        def call(self, batch: Any) -> Any:
            for step in self.steps:
                batch = step(batch)
            return batch

    keras.utils.set_random_seed(1)
    model = Subclassed()
    expected = reference(model)
    model.save(tmp_path / "m.keras")
    model.export(tmp_path / "exported", verbose=False)
    assert scores_of(tmp_path / "m.keras") == pytest.approx(expected, abs=1e-5)
    assert scores_of(tmp_path / "exported") == pytest.approx(expected, abs=1e-5)


def test_a_tflite_model_with_an_operator_that_the_interpreter_lacks_falls_back(
    keras: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    def unusual(image: Any) -> Any:
        return tf.nn.softmax(tf.reduce_mean(tf.math.bessel_i0e(image), axis=[1, 2]))

    wanted = tf.TensorSpec([1, 32, 32, 3], tf.float32)
    concrete = tf.function(unusual, input_signature=[wanted]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.allow_custom_ops = True
    (tmp_path / "unusual.tflite").write_bytes(converter.convert())
    sequential(keras).save(tmp_path / "m.keras")
    opened, (reason,), _ = open_first([tmp_path / "unusual.tflite", tmp_path / "m.keras"])
    assert opened.spec.format == "keras"
    assert "BesselI0e" in reason


def test_a_batch_of_a_keras_model_is_invoked_at_once(keras: Any, tmp_path: Path) -> None:
    sequential(keras).save(tmp_path / "m.keras")
    batch = np.random.default_rng(0).random((5, 32, 32, 3)).astype(np.float32)
    assert open_model(tmp_path / "m.keras").scores(batch).shape == (5, 3)


@pytest.mark.parametrize("batch_size", [2, 3, 32])
def test_a_batch_of_the_size_asked_for_is_what_a_keras_model_gets(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    sequential(keras).save(tmp_path / "m.keras")
    runtime, sizes = ImageInferenceRuntime(tmp_path / "m.keras"), []
    scores = TensorFlowModel.scores

    def counted(self: TensorFlowModel, batch: Batch) -> Scores:
        sizes.append(len(batch))
        return scores(self, batch)

    monkeypatch.setattr(TensorFlowModel, "scores", counted)
    found = runtime.predict_batch([*PHOTOS[:3], b"bad", *PHOTOS[3:7]], batch_size).results
    assert [type(each).__name__ for each in found].index("ImageFailure") == 3
    assert sum(sizes) == 7
    assert max(sizes) <= batch_size
    assert len(sizes) == -(-8 // batch_size)
    monkeypatch.undo()
    singles = [runtime.predict(photo).confidence for photo in PHOTOS[:3]]
    assert [each.confidence for each in found[:3] if isinstance(each, ImageResult)] == pytest.approx(singles)


@pytest.mark.parametrize("fixed", [1, 4])
def test_a_saved_model_of_a_fixed_batch_takes_any_number_of_images(
    keras: Any, tmp_path: Path, fixed: int
) -> None:
    import tensorflow as tf

    model = sequential(keras)
    signature = tf.function(model, input_signature=[tf.TensorSpec([fixed, 32, 32, 3], tf.float32)])
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures=signature.get_concrete_function())
    batch = np.random.default_rng(0).random((6, 32, 32, 3)).astype(np.float32)
    scores = open_model(tmp_path / "saved").scores(batch)
    assert scores == pytest.approx(np.asarray(model(batch)), abs=1e-5)


def test_a_damaged_keras_file_is_a_model_error(keras: Any, tmp_path: Path) -> None:
    sequential(keras).save(tmp_path / "m.h5")
    content = (tmp_path / "m.h5").read_bytes()
    (tmp_path / "m.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="Keras cannot load it"):
        open_model(tmp_path / "m.h5")


def test_the_daemon_falls_back_says_so_once_and_shows_why(keras: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(50))
    functional(keras).save(tmp_path / "m.keras")
    model = {"path": "broken.tflite", "fallback": ["gone.tflite", "m.keras"]}
    with running(tmp_path, model=model) as house:
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: house.finished() == 1)
        reported = house.status()["model"]
        shown = dropsight("status", "-c", str(house.config)).stdout
        assert house.stop() == 0
    (record,) = house.records()
    assert record["model"]["format"] == "keras"
    assert len(reported["instead_of"]) == 2
    assert "cannot load it" in shown
    assert house.daemon_log().count("falling back to") == 1


def test_an_inspection_names_what_it_falls_back_to(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(50))
    fallback = ["gone.tflite", "builtin:efficientnet_lite0"]
    house = House(tmp_path, {"model": {"path": "broken.tflite", "fallback": fallback}})
    inspected = dropsight("inspect", "-c", str(house.config))
    assert inspected.stderr.count("falling back to") == 2
    assert "efficientnet_lite0" in inspected.stdout


def test_with_nothing_left_to_fall_back_to_every_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(50))
    with pytest.raises(ModelError) as caught:
        open_first([tmp_path / "broken.tflite", tmp_path / "gone.keras"])
    assert len(str(caught.value).splitlines()) == 2
    config = tmp_path / "dropsight.yaml"
    config.write_text("model: {path: broken.tflite, fallback: [gone.keras]}\nmqtt: null\n")
    done = dropsight("run", "-c", str(config), "--once")
    assert done.returncode == 1
    assert len(faults(done)) == 2


def test_a_keras_model_works_on_the_command_line(keras: Any, tmp_path: Path) -> None:
    sequential(keras).save(tmp_path / "m.keras")
    (tmp_path / "m.yaml").write_text("labels: names.txt")
    (tmp_path / "names.txt").write_text("a\nb\nc")
    done = dropsight_in_here("classify", "--json", "--model", "m.keras", str(PHOTOS[0]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["label"] in {"a", "b", "c"}


def test_a_keras_that_runs_code_out_of_model_files_is_refused(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 3.11.3 it did not heed safe_mode for .h5 files."""
    path = tmp_path / "m.h5"
    sequential(keras).save(path)
    monkeypatch.setattr(keras, "__version__", "3.11.2")
    with pytest.raises(ModelError, match=r"needs Keras 3\.11\.3 or later"):
        open_model(path)
