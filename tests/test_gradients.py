"""Grad-CAM and saliency on Keras models of every build, against values computed by hand."""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from clips import make_clip
from daemons import SAMPLES, dropsight_in_here
from dropsight import GradCAM, SaliencyMap, VideoInferenceRuntime
from dropsight.commands.explain import explain
from dropsight.errors import ModelError
from dropsight.explain.explaining import METHODS, Explainer, Method
from dropsight.models.backends import open_model

pytestmark = pytest.mark.tensorflow

SIZE = 16
BUILDS = (
    *("functional", "sequential", "nested", "Blocks", "four_levels", "residual", "head_of_convolutions"),
    *("shared", "subclassed"),
)


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def builds(keras: Any) -> Any:  # noqa: ARG001 - which it imports
    return importlib.import_module("builds")


def noise() -> Any:
    return np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)


def test_grad_cam_is_what_the_paper_s_formula_gives_by_hand(keras: Any, builds: Any) -> None:
    """With a linear head on pooled maps, dY/dA is the head's weight over the number of places."""
    keras.utils.set_random_seed(1)
    model = builds.functional()
    image = noise()
    maps = keras.Model(model.inputs[0], model.get_layer("maps").output)(image[np.newaxis]).numpy()[0]
    weights = model.get_layer("answer").get_weights()[0][:, 2] / (SIZE * SIZE)
    by_hand = np.maximum(maps @ weights, 0)
    found = GradCAM(model).compute_heatmap(image, class_idx=2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand / by_hand.max(), atol=1e-4)


@pytest.mark.parametrize("build", BUILDS)
def test_the_last_convolution_is_found_in_every_build_and_the_model_is_given_back(
    keras: Any, builds: Any, build: str
) -> None:
    keras.utils.set_random_seed(2)
    model, image = getattr(builds, build)(), noise()
    before = np.asarray(model(image[np.newaxis]))
    found = GradCAM(model).compute_heatmap(image, class_idx=1)
    named = GradCAM(model, "maps").compute_heatmap(image, class_idx=1)
    np.testing.assert_array_equal(found, named)
    assert found.shape == (SIZE, SIZE)
    np.testing.assert_array_equal(before, np.asarray(model(image[np.newaxis])))
    assert float(before.sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_layer_is_found_by_name_wherever_it_is_and_a_block_of_several_too(keras: Any, builds: Any) -> None:
    keras.utils.set_random_seed(2)
    model, image = builds.four_levels(), noise()
    by_block = GradCAM(model, "block").compute_heatmap(image, 1)
    np.testing.assert_array_equal(by_block, GradCAM(model, "maps").compute_heatmap(image, 1))


def test_a_softmax_that_is_no_layer_changes_no_map(keras: Any, builds: Any) -> None:
    """Log p is the score less a constant of the image: integrated gradients stay complete."""
    keras.utils.set_random_seed(3)
    assert SaliencyMap(builds.Blocks(), method="integrated").integrate(noise(), 1).error < 0.05


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, saving
def test_the_explainer_shows_the_model_the_very_picture_that_it_classifies(
    keras: Any, tmp_path: Path
) -> None:
    """Framed pixels must not be cropped once more: a dot at the edge stays in its place."""
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    framed = np.zeros((SIZE, SIZE, 3), np.uint8)
    framed[0, 3] = 255
    explainer = Explainer(open_model(tmp_path / "m.keras"), "integrated")
    heatmap = explainer.heatmap(framed, 1)
    assert np.argwhere(heatmap > 0).tolist() == [[0, 3]]


def test_an_overlay_covers_the_crop_that_the_model_sees_of_the_whole_photo(builds: Any) -> None:
    """Of 40x64 the middle 35x35, nearest to centred: outside it the photo is as it was."""
    grad_cam = GradCAM(builds.functional())
    photo = np.full((40, 64, 3), 100, np.uint8)
    laid = grad_cam.overlay_heatmap(photo, np.ones((SIZE, SIZE), np.float32), alpha=1)
    assert laid.shape == photo.shape
    changed = np.argwhere((laid != photo).any(axis=2))
    assert (changed.min(axis=0).tolist(), changed.max(axis=0).tolist()) == ([3, 15], [36, 48])
    path = GradCAM(builds.functional()).overlay_heatmap(
        SAMPLES / "koala.jpg", np.ones((SIZE, SIZE), np.float32)
    )
    assert path.shape == (640, 480, 3)


def test_what_is_not_complete_in_the_most_steps_is_warned_of(
    keras: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A score that jumps within one step of the integral hides its change from every gradient."""

    class Jump(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return keras.ops.cast(inputs > 0.5, "float32") + 0.001 * inputs

    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            Jump(),
            keras.layers.Flatten(),
            keras.layers.Dense(2, kernel_initializer="ones"),
        ]
    )
    found = SaliencyMap(model, method="integrated").integrate(np.ones((4, 4, 1), np.float32), 1)
    assert found.steps == 256
    assert found.error == pytest.approx(1, abs=0.01)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "off the score's difference by 99" in caplog.text


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, saving
def test_a_saved_model_is_explained_by_rise(keras: Any, builds: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    builds.functional().export(tmp_path / "saved", verbose=False)
    photo = str(SAMPLES / "koala.jpg")
    done = dropsight_in_here("explain", photo, "--model", "saved", "--top", "2", "-o", "w.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.partition("by ")[2] for line in done.stdout.splitlines()] == ["rise: w.png"] * 2


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, saving
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--layer", "nope"], "no layer nope; there are"),
        (["--class", "3"], "class 3 is out of range: 0 to 2"),
    ],
)
def test_faults_at_the_command_line_are_one_line(
    builds: Any, tmp_path: Path, arguments: list[str], line: str
) -> None:
    builds.functional().save(tmp_path / "m.keras")
    photo = str(SAMPLES / "koala.jpg")
    done = dropsight_in_here("explain", photo, "--model", "m.keras", "-o", "w.png", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    said = [each for each in done.stderr.splitlines() if each.startswith("dropsight:")]
    assert len(said) == 1
    assert line in said[0]
    assert "Traceback" not in done.stderr


def test_the_saliency_of_a_linear_model_is_its_weights(keras: Any) -> None:
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    weights = np.arange(32.0, dtype=np.float32).reshape(16, 2) - 9
    model.layers[-1].set_weights([weights, np.zeros(2, np.float32)])
    image = np.random.default_rng(1).random((4, 4, 1)).astype(np.float32)
    by_hand = np.abs(weights[:, 1]).reshape(4, 4)
    found = SaliencyMap(model).compute_heatmap(image, class_idx=1)
    np.testing.assert_allclose(found, np.minimum(by_hand / np.percentile(by_hand, 99.5), 1), rtol=1e-5)
    attributions = SaliencyMap(model, method="integrated").integrate(image, 1).attributions
    np.testing.assert_allclose(attributions[:, :, 0], image[:, :, 0] * weights[:, 1].reshape(4, 4), rtol=1e-4)


@pytest.mark.parametrize("build", BUILDS)
def test_integrated_gradients_are_complete(keras: Any, builds: Any, build: str) -> None:
    keras.utils.set_random_seed(4)
    assert (
        SaliencyMap(getattr(builds, build)(), method="integrated", samples=64).integrate(noise(), 1).error
        < 0.05
    )


def test_smoothgrad_is_repeatable_and_no_flat_map(keras: Any, builds: Any) -> None:
    keras.utils.set_random_seed(5)
    smooth = SaliencyMap(builds.functional(), method="smoothgrad", samples=4)
    one, two = (smooth.compute_heatmap(noise(), 0) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.ptp(one) > 0


def test_faults_are_one_clear_line_each_and_leave_the_model_as_it_was(keras: Any, builds: Any) -> None:
    model = builds.functional()
    with pytest.raises(ModelError, match=r"no layer nope; there are .*maps.*answer"):
        GradCAM(model, "nope").compute_heatmap(noise(), 0)
    with pytest.raises(ModelError, match="class 3 is out of range: 0 to 2"):
        GradCAM(model).compute_heatmap(noise(), 3)
    dense = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match="no convolution layer"):
        GradCAM(dense).compute_heatmap(np.zeros((4, 4, 3), np.float32), 0)
    assert float(np.asarray(model(noise()[np.newaxis])).sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.fixture(scope="module")
def filmed(keras: Any, builds: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A model, a clip, its surest frame as a photo, and when that shows."""
    folder = tmp_path_factory.mktemp("filmed")
    keras.utils.set_random_seed(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras, saving
        builds.functional().save(folder / "m.keras")
    shown = np.random.default_rng(7).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    pictures = [np.zeros_like(shown)] * 5 + [shown] * 5
    clip = make_clip(folder / "clip.mkv", pictures, codec="ffv1", pix_fmt="bgr0")
    with VideoInferenceRuntime(folder / "m.keras") as runtime:
        seconds = runtime.predict(clip).clip.peak.time
        frame = runtime.frame(clip, seconds)
    cv2.imwrite(str(folder / "clip.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder, seconds


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_of_a_clip_one_frame_is_explained_by_every_method_as_the_same_photo_is(
    filmed: tuple[Path, float], tmp_path: Path, method: Method, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, seconds = filmed
    found = []
    for name in ("clip.mkv", "clip.png"):
        target = tmp_path / f"{name}.bmp"
        model = str(folder / "m.keras")
        explain(
            folder / name,
            target,
            model=model,
            method=method,
            layer=None,
            class_index=None,
            top=1,
            as_json=True,
        )
        found.append((json.loads(capsys.readouterr().out), np.asarray(cv2.imread(str(target)))[40:]))
    (of_clip, its_figure), (of_photo, figure) = found
    assert of_clip["seconds"] == seconds
    assert (of_clip["classes"], of_clip["method"]) == (of_photo["classes"], method)
    np.testing.assert_array_equal(its_figure, figure)
