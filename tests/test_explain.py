"""Explanations: hand-computed maps, every kind of Keras model, evidence on two photos side by side."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clips import make_clip, of_photos
from daemons import PHOTOS, SAMPLES, dropsight
from dropsight.errors import DropsightError
from dropsight.explain.explaining import Explainer, Explanation
from dropsight.explain.figures import side_by_side
from dropsight.explain.heatmap import coloured, normalized, overlay
from dropsight.explain.perturbation import OcclusionMap, RiseMap
from dropsight.inference.preparing import Preparation
from dropsight.models.backends import locate, open_model
from explain_report import evidence, scenes, single_scenes
from kept_maps import BUILTIN, of_builtin
from tiny_tflite import of_any_size

SIZE = 64
SMALLER = ("--model", "smaller.tflite", "--method", "occlusion")


def smaller(folder: Path) -> None:
    """Write the built-in model for a quarter of the width, where what is answered does not matter."""
    (folder / "smaller.tflite").write_bytes(of_any_size(locate(BUILTIN)))
    (folder / "smaller.yaml").write_text("input_size: [56, 56]\n")


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


@pytest.mark.parametrize("colormap", ["jet", "viridis", "RdYlGn", "tab10", cv2.COLORMAP_JET])
def test_an_overlay_mixes_by_alpha_in_any_colormap(colormap: str | int) -> None:
    pixels = np.full((4, 6, 3), 100, np.uint8)
    heatmap = np.zeros((2, 3), np.float32)
    assert (overlay(pixels, heatmap, alpha=0, colormap=colormap) == pixels).all()
    mixed = overlay(pixels, heatmap, alpha=1, colormap=colormap)
    assert mixed.shape == pixels.shape
    assert len(np.unique(mixed.reshape(-1, 3), axis=0)) == 1


def test_every_colormap_of_opencv_and_matplotlib_is_known_and_takes_its_own_ends() -> None:
    ends = np.array([[0.0, 1.0]], np.float32)
    for name in (each for each in dir(cv2) if each.startswith("COLORMAP_")):
        assert coloured(ends, name.removeprefix("COLORMAP_").lower()).shape == (1, 2, 3)
    for name in set(mpl.colormaps) - {each.lower().removeprefix("colormap_") for each in dir(cv2)}:
        table = mpl.colormaps[name]
        expected = np.round(np.array([table(0.0)[:3], table(1.0)[:3]]) * 255)
        np.testing.assert_array_equal(coloured(ends, name)[0], expected, err_msg=name)


def test_an_unknown_colormap_is_one_line_with_the_nearest() -> None:
    with pytest.raises(DropsightError, match="no colormap virdis in OpenCV or matplotlib; did you mean"):
        coloured(np.zeros((2, 2), np.float32), "virdis")
    with pytest.raises(DropsightError, match="no colormap 999"):
        coloured(np.zeros((2, 2), np.float32), 999)


def test_a_weak_heatmap_stays_weak_in_the_overlay() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    weak = np.full((2, 2), 0.25, np.float32)
    np.testing.assert_array_equal(overlay(pixels, weak, alpha=1), coloured(weak, "jet"))


@pytest.mark.slow
def test_explain_writes_a_figure_of_an_int8_model_without_tensorflow(tmp_path: Path) -> None:
    """Of a link as well; no bar is drawn where nobody looks."""
    (tmp_path / "coffee.jpg").symlink_to(SAMPLES / "coffee.jpg")
    done = dropsight("explain", "coffee.jpg", "--method", "occlusion", "-o", "w.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("espresso (967) 95.3% by occlusion")
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


@pytest.mark.parametrize(
    ("arguments", "line", "code"),
    [
        (["-o", "missing/w.png"], "there is no folder", 2),
        (["-o", "w.txt"], "unsupported picture format txt", 2),
        (["-o", "w.png", "--class", "1", "--top", "2"], "--class and --top: give one of them", 2),
        (["-o", "w.png", "--layer", "x"], "a layer is for gradcam, not for rise", 1),
    ],
)
def test_what_would_fail_in_the_end_fails_before_the_work(
    tmp_path: Path, arguments: list[str], line: str, code: int
) -> None:
    done = dropsight("explain", str(PHOTOS[0]), *arguments, cwd=tmp_path)
    assert done.returncode == code
    (only,) = done.stderr.splitlines()  # hence no progress bar
    assert line in only


@pytest.mark.slow
def test_of_a_clip_the_surest_frame_is_explained_or_that_of_the_class_that_is_asked_for(
    tmp_path: Path,
) -> None:
    coffee, panda = of_photos([SAMPLES / "coffee.jpg", SAMPLES / "panda.jpg"])
    make_clip(tmp_path / "clip.mp4", [*[coffee] * 10, *[panda] * 10])
    arguments = ("explain", "clip.mp4", "--method", "occlusion", "-o", "w.png")
    done = dropsight(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("giant panda (388) 9")
    assert done.stdout.endswith("% by occlusion at 1.0 s: w.png\n")
    asked = json.loads(dropsight(*arguments, "--class", "967", "--json", cwd=tmp_path).stdout)
    (espresso,) = asked["classes"]
    assert espresso["label"] == "espresso"
    assert espresso["confidence"] > 0.5
    assert (asked["kind"], asked["seconds"], asked["method"]) == ("clip", 0.0, "occlusion")
    assert np.asarray(cv2.imread(str(tmp_path / "w.png"))).shape[1] > 1000


def test_a_clip_is_not_decoded_for_a_class_that_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42 and no more of it")
    arguments = ("explain", "clip.mp4", "-o", "w.png")
    wrong = dropsight(*arguments, "--class", "1000", cwd=tmp_path)
    assert "class 1000 is out of range: 0 to 999" in wrong.stderr
    broken = dropsight(*arguments, cwd=tmp_path)
    assert broken.returncode == 1
    assert broken.stderr.startswith("dropsight: clip.mp4: the clip cannot be read")


@pytest.mark.slow
def test_what_explain_draws_needs_no_matplotlib(tmp_path: Path) -> None:
    """Neither the demo nor the installed service has it."""
    smaller(tmp_path)
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    paths = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    arguments = ("explain", str(PHOTOS[0]), *SMALLER, "-o", "w.jpg")
    done = dropsight(*arguments, cwd=tmp_path, environ={"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    figure = cv2.imread(str(tmp_path / "w.jpg"))
    assert figure is not None
    assert figure.shape[1] > 3 * figure.shape[0] / 2  # three panels in a row


@pytest.mark.slow
def test_a_photo_turned_by_exif_is_explained_upright(tmp_path: Path) -> None:
    """Orientation 6: stored lying on its side; the figure and the answer are those of the upright one."""
    smaller(tmp_path)
    upright = Image.open(SAMPLES / "koala.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.save(tmp_path / "upright.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    figures = []
    for name in ("upright", "lying"):
        explained = dropsight("explain", f"{name}.png", *SMALLER, "-o", "w.bmp.png", cwd=tmp_path)
        assert explained.returncode == 0, explained.stderr
        figures.append(cv2.imread(str(tmp_path / "w.bmp.png")))
    first, second = (np.asarray(figure)[60:] for figure in figures)  # below the file's name
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (6000, 40), (40, 6000)])
def test_a_picture_of_any_shape_is_explained(tmp_path: Path, shape: tuple[int, int]) -> None:
    smaller(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), noise)
    done = dropsight("explain", "p.png", *SMALLER, "-o", "w.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(tmp_path / "w.png")) is not None


def test_nothing_of_a_figure_with_long_labels_is_clipped(tmp_path: Path) -> None:
    """The outermost pixels are white: every word and every panel ends before them."""
    found = Explanation(
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((SIZE, SIZE), np.float32),
        3,
        "$ long " * 40,
        0.5,
        "rise",
    )
    side_by_side(tmp_path / "w.png", [found, found], title="one_name_$without_$spaces" * 12)
    figure = np.asarray(cv2.imread(str(tmp_path / "w.png")))
    edges = (figure[0], figure[-1], figure[:, 0], figure[:, -1])
    assert all((edge == 255).all() for edge in edges)


@pytest.mark.slow
def test_the_built_in_model_s_maps_lie_on_the_objects_of_whole_photos() -> None:
    found = evidence(of_builtin("occlusion"), list(single_scenes()), {}, steps=7)
    assert found.pointing >= 0.7
    assert found.energy > found.chance + 0.1
    assert found.insertion > found.deletion


@pytest.mark.slow
def test_rise_on_the_built_in_model_finds_both_photos_of_a_scene() -> None:
    found = evidence(of_builtin("rise"), list(scenes())[:1], {}, steps=7)
    assert found.pointing == 1.0
    assert found.energy > 0.5
    assert found.insertion > found.deletion


def test_several_classes_are_explained_by_the_same_invokes() -> None:
    calls = 0
    bright = bright_share((slice(8, 24), slice(40, 56)))

    def classify(batch: NDArray[np.uint8]) -> NDArray[np.floating]:
        nonlocal calls
        calls += len(batch)
        return bright(batch)

    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    both = RiseMap(classify, masks=50).compute_heatmaps(noise, [0, 1])
    assert calls == 50
    for index, heatmap in enumerate(both):
        alone = RiseMap(bright, masks=50).compute_heatmap(noise, index)
        np.testing.assert_allclose(alone, heatmap, atol=1e-6)


def test_prepared_pixels_can_be_shown_again() -> None:
    explainer = Explainer(open_model(BUILTIN), "occlusion")
    pixels = next(scenes()).pixels
    preparation = Preparation(explainer.spec)
    np.testing.assert_allclose(preparation.pixels_of(preparation.batch([pixels])[0]), pixels, atol=1)
