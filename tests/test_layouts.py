"""Models that take (channels, height, width), as those that come from PyTorch and ONNX do."""

import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from daemons import PHOTOS, House, dropsight
from dropsight import GradCAM, ImageInferenceRuntime, ImageResult, SaliencyMap
from dropsight.errors import ModelError
from dropsight.explain.explaining import Explainer
from dropsight.inference.preparing import Preparation
from dropsight.models.backends import open_model
from dropsight.models.describing import describe
from dropsight.models.image_input import image_input
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import TensorSpec

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras and TensorFlow warn of each other

HEIGHT, WIDTH = 24, 40
KINDS = ("float", "int8")


def tensor(*shape: int) -> TensorSpec:
    return TensorSpec("image", shape, np.dtype(np.float32))


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 224, 224, 3), "NHWC"),
        ((-1, 3, 224, 224), "NCHW"),
        ((1, 28, 28, 1), "NHWC"),
        ((1, 1, 28, 28), "NCHW"),
        ((1, 3, 224, 3), "NHWC"),
    ],
)
def test_the_layout_is_found_by_where_the_channels_are(
    tmp_path: Path, shape: tuple[int, ...], layout: str
) -> None:
    """Where they may be at either end, they are last, as in most TFLite models."""
    found = describe(tmp_path / "m", ModelOverrides(), tensor=tensor(*shape), classes=2)
    assert (found.layout, found.layout_from) == (layout, "shape")


def test_a_sidecar_says_what_the_shape_leaves_open_and_no_more(tmp_path: Path) -> None:
    sidecar = tmp_path / "m.yaml"
    sidecar.write_text("layout: NCHW")
    found = describe(tmp_path / "m", ModelOverrides(), tensor=tensor(1, 3, 224, 3), classes=2)
    assert (found.layout, found.layout_from) == ("NCHW", str(sidecar))
    with pytest.raises(ModelError, match=r"m\.yaml: layout NCHW: not with an input of \[1, 224, 224, 3\]"):
        describe(tmp_path / "m", ModelOverrides(), tensor=tensor(1, 224, 224, 3), classes=2)
    sidecar.write_text("layout: NWHC")
    with pytest.raises(ModelError, match="NWHC"):
        describe(tmp_path / "m", ModelOverrides(), tensor=tensor(1, 224, 224, 3), classes=2)


def test_the_config_says_the_layout_before_the_sidecar(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("layout: NHWC")
    said = ModelOverrides(layout="NCHW")
    found = describe(tmp_path / "m", said, tensor=tensor(1, 3, 224, 3), classes=2)
    assert (found.layout, found.layout_from) == ("NCHW", "config")


def test_channels_come_first_too_where_the_size_is_open(tmp_path: Path) -> None:
    found = image_input(tmp_path / "m", ModelOverrides(), tensor(-1, 3, -1, -1))
    assert (found.layout, found.taken, found.size_from) == ("NCHW", (-1, 3, 224, 224), "default")


@pytest.mark.parametrize("shape", [(1, 224, 225), (1, 4, 224, 224), (1, 224, 224, -1), (1, -1, -1, -1)])
def test_what_takes_no_images_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="not an image classifier: its input is"):
        image_input(tmp_path / "m", ModelOverrides(), tensor(*shape))


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("keras")


def network(keras: Any, *, channels_first: bool) -> Any:
    """The same weights behind either layout of the input."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3, HEIGHT, WIDTH) if channels_first else (HEIGHT, WIDTH, 3))
    step = keras.layers.Permute((2, 3, 1))(inputs) if channels_first else inputs
    step = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="maps")(step)
    step = keras.layers.Flatten()(step)
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(step))


def converted(model: Any, kind: str) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind == "int8":
        pictures = np.random.default_rng(0).random((8, 1, HEIGHT, WIDTH, 3)).astype(np.float32)
        if model.input_shape[1] == 3:
            pictures = pictures.transpose(0, 1, 4, 2, 3)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture] for picture in pictures)
        converter.inference_input_type = converter.inference_output_type = tf.int8
    content: bytes = converter.convert()
    return content


@pytest.fixture(scope="module")
def models(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with last-float.tflite, first-float.tflite, last.keras and so on."""
    folder = tmp_path_factory.mktemp("layouts")
    for name, channels_first in (("last", False), ("first", True)):
        model = network(keras, channels_first=channels_first)
        model.save(folder / f"{name}.keras")
        model.export(folder / f"{name}-saved", verbose=False)
        for kind in KINDS:
            (folder / f"{name}-{kind}.tflite").write_bytes(converted(model, kind))
    return folder


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("form", ["-float.tflite", "-int8.tflite", ".keras", "-saved"])
@pytest.mark.parametrize("views", [("original",), ("original", "vertical_flip", "horizontal_flip")])
def test_a_model_with_channels_first_says_what_the_same_one_says_with_channels_last(
    models: Path, form: str, views: tuple[str, ...]
) -> None:
    last, first = (
        ImageInferenceRuntime(models / f"{name}{form}", use_tta=True, tta_transforms=views)
        for name in ("last", "first")
    )
    assert (last.spec.layout, first.spec.layout) == ("NHWC", "NCHW")
    assert (first.spec.height, first.spec.width, first.spec.channels) == (HEIGHT, WIDTH, 3)
    wanted, found = (runtime.predict_batch(PHOTOS[:4]).results for runtime in (last, first))
    for one, other in zip(wanted, found, strict=True):
        assert isinstance(one, ImageResult)
        assert isinstance(other, ImageResult)
        assert by_class(other) == pytest.approx(by_class(one), abs=0 if "int8" in form else 1e-6)
    assert len({each.predicted_class for each in found if isinstance(each, ImageResult)}) > 1


def by_class(result: ImageResult) -> list[float]:
    return [each.confidence for each in sorted(result.predictions, key=lambda each: each.class_index)]


@pytest.mark.tensorflow
def test_an_own_preprocess_fn_gives_channels_last_whatever_the_model_takes(models: Path) -> None:
    def own(pixels: Any) -> Any:
        return cv2.resize(pixels, (WIDTH, HEIGHT)).astype(np.float32) / 255

    last, first = (
        ImageInferenceRuntime(models / f"{name}-int8.tflite", preprocess_fn=own).predict(PHOTOS[0])
        for name in ("last", "first")
    )
    assert by_class(first) == by_class(last)


@pytest.mark.tensorflow
def test_the_pixels_of_a_prepared_image_are_those_that_a_model_with_channels_first_sees(models: Path) -> None:
    """Explanations lie over them."""
    framed = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for kind in KINDS:
        preparation = Preparation(open_model(models / f"first-{kind}.tflite").spec)
        batch = preparation.batch([framed, framed[::-1]])
        assert batch.shape == (2, 3, HEIGHT, WIDTH)
        np.testing.assert_allclose(preparation.pixels_of(batch[0]), framed, atol=1)


@pytest.mark.tensorflow
def test_inspect_and_the_daemon_know_a_model_with_channels_first(models: Path, tmp_path: Path) -> None:
    model = models / "first-int8.tflite"
    shown = dropsight("inspect", str(model)).stdout
    assert f" x 3 x {HEIGHT} x {WIDTH} int8" in shown
    assert "layout         NCHW: channels first, from shape" in shown
    house = House(
        tmp_path, {"model": {"path": str(model)}, "inference": {"tta": ["original", "vertical_flip"]}}
    )
    shutil.copy(PHOTOS[0], house.inbox)
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0, done.stderr
    (record,) = house.records()
    views = ("original", "vertical_flip")
    alone = ImageInferenceRuntime(models / "last-int8.tflite", use_tta=True, tta_transforms=views)
    assert record["confidence"] == alone.predict(PHOTOS[0]).confidence


@pytest.mark.tensorflow
def test_what_is_seen_by_models_with_channels_first_is_explained_without_gradients(models: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    maps = [
        Explainer(open_model(models / f"{name}.keras"), "occlusion").explain(pixels)[0].heatmap
        for name in ("last", "first")
    ]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-3)
    assert Explainer(open_model(models / "first.keras")).method == "rise"


@pytest.mark.tensorflow
def test_maps_by_gradients_are_refused_for_channels_first_with_the_way_out(keras: Any, models: Path) -> None:
    with pytest.raises(
        ModelError, match="gradcam does not support models with channels first; occlusion and"
    ):
        Explainer(open_model(models / "first.keras"), "gradcam")
    for kind in (GradCAM, SaliencyMap):
        with pytest.raises(ModelError, match="need channels last; `dropsight explain --method rise`"):
            kind(network(keras, channels_first=True)).compute_heatmap(PHOTOS[0])
