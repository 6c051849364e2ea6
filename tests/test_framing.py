"""How much of a picture a model sees is a fact of the model, which config and sidecar may correct."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from dropsight import ImageInferenceRuntime
from dropsight.config import load
from dropsight.errors import ConfigError
from dropsight.images.decoding import decode
from dropsight.images.header import read_header
from dropsight.inference.preparing import Preparation
from dropsight.models.backends import locate, open_model
from dropsight.models.describing import describe
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import ModelSpec, TensorSpec
from dropsight.records import Framing

FLOATS = TensorSpec("input", (1, 224, 224, 3), np.dtype(np.float32))


def framing(path: Path, said: ModelOverrides) -> tuple[Framing, str]:
    found = describe(path, said, tensor=FLOATS, classes=2)
    return found.framing, found.framing_from


def test_config_counts_before_the_sidecar_and_that_before_the_usual_crop(tmp_path: Path) -> None:
    """The share that a crop keeps is taken from wherever it stands, also where `resize: crop` is written."""
    path, beside = tmp_path / "m.tflite", tmp_path / "m.yaml"
    assert framing(path, ModelOverrides()) == (Framing("crop", 0.875), "default")
    beside.write_text("central: 1.0")
    assert framing(path, ModelOverrides()) == (Framing("crop", 1.0), str(beside))
    assert framing(path, ModelOverrides(resize="crop")) == (Framing("crop", 1.0), str(beside))
    assert framing(path, ModelOverrides(central=0.5)) == (Framing("crop", 0.5), "config")
    assert framing(path, ModelOverrides(resize="stretch")) == (Framing("stretch", 1.0), "config")
    beside.write_text("resize: letterbox")
    assert framing(path, ModelOverrides()) == (Framing("letterbox", 0.875), str(beside))


@pytest.mark.parametrize("central", ["0", "1.1", "all"])
def test_a_share_beyond_the_picture_is_refused(tmp_path: Path, central: str) -> None:
    file = tmp_path / "dropsight.yaml"
    file.write_text(f"model:\n  central: {central}\n")
    with pytest.raises(ConfigError, match=r"model\.central"):
        load(file)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return open_model("builtin:efficientnet_lite0").spec


def test_the_whole_central_square_is_seen_where_the_model_wants_it(spec: ModelSpec) -> None:
    """A picture of twice the model's size, whose columns are numbered."""
    columns = np.arange(600) * 255 // 599
    pixels = np.broadcast_to(columns[np.newaxis, :, np.newaxis], (448, 600, 3)).astype(np.uint8)
    whole = Preparation(replace(spec, framing=Framing(central=1.0))).picture(pixels)
    usual = Preparation(spec).picture(pixels)
    np.testing.assert_allclose(whole[0, [0, -1], 0], columns[[76, 523]], atol=1)
    np.testing.assert_allclose(usual[0, [0, -1], 0], columns[[104, 495]], atol=1)


def test_a_jpeg_is_decoded_as_small_as_the_part_that_is_kept_allows(jpeg_500: bytes) -> None:
    """Half of 500 x 500 leaves 250, which is enough for all of it, and 218 for 0.875 of it."""
    header = read_header(jpeg_500)
    whole = decode(jpeg_500, header, at_least=(224, 224), how="crop", crop_fraction=1.0)
    usual = decode(jpeg_500, header, at_least=(224, 224), how="crop")
    assert (whole.shape, usual.shape) == ((250, 250, 3), (500, 500, 3))


@pytest.fixture
def jpeg_500() -> bytes:
    return cv2.imencode(".jpg", np.zeros((500, 500, 3), np.uint8))[1].tobytes()


def test_an_answer_is_that_for_the_part_that_the_sidecar_names(tmp_path: Path) -> None:
    """Cut out by hand it must come out the same."""
    model = tmp_path / "m.tflite"
    shutil.copy(locate("builtin:efficientnet_lite0"), model)
    (tmp_path / "m.yaml").write_text("central: 1.0")
    pixels = np.random.default_rng(0).integers(0, 256, (224, 300, 3), np.uint8)
    by_hand = ImageInferenceRuntime(model, resize="stretch").predict(pixels[:, 38:262])
    assert ImageInferenceRuntime(model).predict(pixels).top_5_predictions == by_hand.top_5_predictions
