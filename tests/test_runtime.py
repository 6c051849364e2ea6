"""The Python runtime."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from daemons import PHOTOS
from dropsight import ImageInferenceRuntime, run_image_inference
from dropsight.errors import ImageError, ModelError
from dropsight.images.views import VIEWS, views
from dropsight.inference.results import ImageResult

PANDA = next(photo for photo in PHOTOS if photo.stem == "panda")


@pytest.fixture(scope="module")
def runtime() -> ImageInferenceRuntime:
    return ImageInferenceRuntime()


def pixels_of(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB), np.uint8)


def test_path_bytes_and_array_of_an_image_get_the_same_answer(runtime: ImageInferenceRuntime) -> None:
    answers = [runtime.predict(image) for image in (PANDA, PANDA.read_bytes(), pixels_of(PANDA))]
    assert {answer.label for answer in answers} == {"giant panda"}
    assert len({answer.confidence for answer in answers}) == 1
    assert answers[0].image_path == str(PANDA)
    assert answers[1].image_path is None


def test_a_batch_has_an_entry_an_image_in_order_and_an_error_for_the_unreadable(
    runtime: ImageInferenceRuntime, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    batch = runtime.predict_batch([PANDA, tmp_path / "bad.jpg", tmp_path / "gone.jpg", PANDA], batch_size=2)
    written = json.loads(batch.to_json())
    assert written["total_images"] == 4
    codes = [entry.get("error", {}).get("code") for entry in written["results"]]
    assert codes == [None, "not_an_image", "unreadable", None]
    assert written["results"][3]["predicted_class"] == 388
    assert written["avg_time_per_image_ms"] == pytest.approx(written["total_time_ms"] / 4, rel=0.01)


def test_a_batch_gives_what_single_predictions_give(runtime: ImageInferenceRuntime) -> None:
    batch = runtime.predict_batch(PHOTOS, batch_size=5)
    for photo, found in zip(PHOTOS, batch.results, strict=True):
        assert isinstance(found, ImageResult)
        single = runtime.predict(photo)
        assert found.confidence == pytest.approx(single.confidence, abs=0.02)


def test_tta_averages_the_views_asked_for() -> None:
    one = ImageInferenceRuntime(use_tta=True, tta_transforms=["original"]).predict(PANDA)
    plain = ImageInferenceRuntime().predict(PANDA)
    five = ImageInferenceRuntime(use_tta=True).predict(PANDA)
    assert one.confidence == plain.confidence
    assert (one.tta, five.tta) == (1, 5)
    assert five.confidence != plain.confidence


def test_a_higher_temperature_lowers_the_confidence_and_keeps_the_class() -> None:
    hot = ImageInferenceRuntime(temperature=3.0).predict(PANDA)
    assert hot.predicted_class == 388
    assert hot.confidence < ImageInferenceRuntime().predict(PANDA).confidence


def test_ones_own_preprocessing_takes_the_place_of_ours() -> None:
    def own(pixels: NDArray[np.uint8]) -> NDArray[np.floating]:
        square = cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_AREA)
        return (np.asarray(square, np.float32) - 127) / 128

    assert ImageInferenceRuntime(preprocess_fn=own).predict(PANDA).label == "giant panda"
    stretched = ImageInferenceRuntime(resize="stretch").predict(pixels_of(PANDA))
    assert ImageInferenceRuntime(preprocess_fn=own).predict(PANDA).confidence == stretched.confidence


def test_results_are_written_where_asked(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    run_image_inference("builtin:efficientnet_lite0", [str(PANDA)], output_path=out, use_tta=True)
    written = json.loads(out.read_text())
    assert written["tta_enabled"] is True
    assert written["results"][0]["label"] == "giant panda"


def test_what_is_wrong_is_said(runtime: ImageInferenceRuntime) -> None:
    with pytest.raises(ImageError, match="RGB"):
        runtime.predict(np.zeros((4, 4, 2), np.uint8))
    with pytest.raises(ModelError, match="tflite, not keras"):
        ImageInferenceRuntime(model_format="keras")
    with pytest.raises(ValueError, match="tta_transforms"):
        ImageInferenceRuntime(use_tta=True, tta_transforms=["upside_down"])
    with pytest.raises(ValueError, match="temperature"):
        ImageInferenceRuntime(temperature=0)


SQUARES = arrays(np.uint8, (24, 24, 3))


@pytest.fixture(scope="module")
def of_five_views() -> ImageInferenceRuntime:
    return ImageInferenceRuntime(use_tta=True, top_k=1000, resize="stretch")


@pytest.fixture(scope="module")
def of_one() -> ImageInferenceRuntime:
    return ImageInferenceRuntime(top_k=1000, resize="stretch")


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(SQUARES)
def test_the_mean_of_five_views_is_the_mean_of_five_single_calls(
    of_five_views: ImageInferenceRuntime, of_one: ImageInferenceRuntime, square: NDArray[np.uint8]
) -> None:
    """In float: views of a square are squares, so each may be framed first or turned first."""
    pixels = cv2.resize(square, (256, 256), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    together = of_five_views.predict(pixels)
    singles = [of_one.predict(view) for view in views(pixels, list(VIEWS))]
    by_class = [{each.class_index: each.confidence for each in single.predictions} for single in singles]
    for each in together.predictions:
        mean = sum(known.get(each.class_index, 0.0) for known in by_class) / 5
        assert each.confidence == pytest.approx(mean, abs=0.02)


def test_the_flip_of_a_symmetric_image_gets_the_same_answer() -> None:
    half = pixels_of(PANDA)[:, :100]
    symmetric = np.ascontiguousarray(np.concatenate([half, half[:, ::-1]], axis=1))
    answers = [
        ImageInferenceRuntime(use_tta=True, tta_transforms=[view]).predict(symmetric).predictions
        for view in ("original", "horizontal_flip")
    ]
    assert answers[0] == answers[1]
