"""Explanations: hand-computed maps, every kind of Keras model, evidence on two photos side by side."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from brokers import wait_until
from daemons import PHOTOS, SAMPLES, House, dropsight, running
from dropsight.errors import DropsightError
from dropsight.explain.explaining import Explainer
from dropsight.explain.heatmap import normalized, overlay
from dropsight.explain.perturbation import OcclusionMap, RiseMap
from dropsight.inference.preparing import Preparation
from dropsight.models.registry import open_model
from explain_report import evidence, scenes

BUILTIN = "builtin:efficientnet_lite0"
SIZE = 64


def bright_share(box: tuple[slice, slice]) -> Callable[[NDArray[np.uint8]], NDArray[np.floating]]:
    """A classifier whose class 1 is how bright the pictures are within a box."""

    def classify(batch: NDArray[np.uint8]) -> NDArray[np.floating]:
        share = batch[:, box[0], box[1]].mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - share, share], axis=1)

    return classify


@pytest.mark.parametrize("method", [OcclusionMap, RiseMap])
def test_a_map_without_gradients_lies_on_what_the_answer_depends_on(method: type[Any]) -> None:
    box = (slice(8, 24), slice(40, 56))
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    options = {"square": 16, "step": 4} if method is OcclusionMap else {"masks": 600}
    heatmap = method(bright_share(box), **options).compute_heatmap(white, 1)
    assert heatmap.shape == (SIZE, SIZE)
    assert heatmap.dtype == np.float32
    assert (heatmap.min(), heatmap.max()) == (0.0, 1.0)
    top, left = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    assert 4 <= top <= 28
    assert 36 <= left <= 60
    assert heatmap[box].mean() > 3 * heatmap[32:, :32].mean()


def test_a_map_that_nothing_speaks_for_is_black_not_nan() -> None:
    assert not normalized(np.full((3, 3), np.nan), height=6, width=6).any()
    assert not normalized(np.full((3, 3), -1.0), height=6, width=6).any()


@pytest.mark.parametrize("colormap", ["jet", "viridis", "RdYlGn"])
def test_an_overlay_mixes_by_alpha_in_any_colormap(colormap: str) -> None:
    pixels = np.full((4, 6, 3), 100, np.uint8)
    heatmap = np.zeros((2, 3), np.float32)
    assert (overlay(pixels, heatmap, alpha=0, colormap=colormap) == pixels).all()
    mixed = overlay(pixels, heatmap, alpha=1, colormap=colormap)
    assert mixed.shape == pixels.shape
    assert len(np.unique(mixed.reshape(-1, 3), axis=0)) == 1


def test_an_unknown_colormap_is_one_line() -> None:
    with pytest.raises(DropsightError, match="no colormap nope"):
        overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32), colormap="nope")


def test_explain_writes_a_figure_of_an_int8_model_without_tensorflow(tmp_path: Path) -> None:
    done = dropsight(
        "explain", str(SAMPLES / "coffee.jpg"), "--method", "occlusion", "-o", str(tmp_path / "w.png")
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("espresso (967) 95.7% by occlusion")
    figure = cv2.imread(str(tmp_path / "w.png"))
    assert figure is not None
    assert min(figure.shape[:2]) > 300


@pytest.mark.parametrize(
    ("arguments", "line", "code"),
    [
        (["--method", "gradcam"], "gradcam needs the gradients of a Keras model", 1),
        (["--method", "magic"], "--method magic: give one of gradcam", 2),
        (["--class", "1000"], "class 1000 is out of range: 0 to 999", 1),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    tmp_path: Path, arguments: list[str], line: str, code: int
) -> None:
    done = dropsight("explain", str(PHOTOS[0]), *arguments, "-o", str(tmp_path / "w.png"))
    assert done.returncode == code
    assert line in done.stderr.splitlines()[-1]
    assert not (tmp_path / "w.png").exists()


def test_rise_on_the_built_in_model_finds_both_photos_of_a_scene() -> None:
    found = evidence(Explainer(open_model(BUILTIN), "rise"), list(scenes())[:1], {})
    assert found.pointing == 1.0
    assert found.energy > 0.5
    assert found.insertion > found.deletion


def test_the_daemon_lays_an_overlay_beside_an_unsure_image_and_names_it_in_the_record(tmp_path: Path) -> None:
    watch = [{"path": "inbox"}]
    with running(tmp_path, watch=watch, explain={"below_confidence": 0.9999, "every": 0}) as house:
        (house.inbox / "cam").mkdir()
        shutil.copy(SAMPLES / "coffee.jpg", house.inbox / "cam" / "a.jpg")
        wait_until(lambda: house.finished() == 1)
        (record,) = house.records()
        target = Path(record["explanation"])
        assert target.parent == house.processed / "cam"
        wait_until(target.exists)
        picture = cv2.imread(str(target))
        assert picture is not None
        assert picture.shape == (448, 448, 3)
        assert house.stop() == 0


def test_a_sure_answer_is_left_unexplained(tmp_path: Path) -> None:
    house = House(tmp_path, {"explain": {"below_confidence": 0.1}})
    shutil.copy(SAMPLES / "coffee.jpg", house.inbox)
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    assert "explanation" not in house.records()[0]


def test_every_second_image_is_explained_where_the_config_says_so(tmp_path: Path) -> None:
    house = House(tmp_path, {"explain": {"below_confidence": 0.0, "every": 2}})
    for number in range(4):
        shutil.copy(SAMPLES / "coffee.jpg", house.inbox / f"{number}.jpg")
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    named = [Path(record["explanation"]) for record in house.records() if "explanation" in record]
    assert len(named) == 2
    assert all(path.exists() for path in named)


def test_the_command_explain_answers_with_an_overlay_of_a_recorded_image(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        shutil.copy(SAMPLES / "coffee.jpg", house.inbox)
        wait_until(lambda: house.finished() == 1)
        record_id = house.records()[0]["id"]
        answer = house.ask("explain", id=record_id)
        assert answer["ok"], answer
        assert answer["result"]["label"] == "espresso"
        data = np.frombuffer(base64.b64decode(answer["result"]["image_jpeg_base64"]), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (448, 448, 3)
        assert "no record nothing" in house.ask("explain", id="nothing")["error"]


def test_prepared_pixels_can_be_shown_again() -> None:
    explainer = Explainer(open_model(BUILTIN), "occlusion")
    pixels = next(scenes()).pixels
    preparation = Preparation(explainer.spec, resize="crop")
    np.testing.assert_allclose(preparation.pixels_of(preparation.batch([pixels])[0]), pixels, atol=1)
