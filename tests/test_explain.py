"""Explanations: hand-computed maps, every kind of Keras model, evidence on two photos side by side."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from daemons import PHOTOS, SAMPLES, dropsight
from dropsight.errors import DropsightError
from dropsight.explain.explaining import Explainer
from dropsight.explain.heatmap import normalized, overlay
from dropsight.explain.perturbation import OcclusionMap, RiseMap
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
