"""What nothing says of a model is said to be a guess, everywhere that one looks."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight
from dropsight.config import load
from dropsight.errors import ConfigError
from dropsight.inference.preparing import Preparation
from dropsight.models.backends import locate, open_model
from dropsight.models.describing import describe
from dropsight.models.guesses import guess_of
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import ModelSpec, TensorSpec
from dropsight.records import Normalization
from float_models import float_model

GUESS = "normalization is a guess, as are color order and frame: nothing says what it is; try the usual ones"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of floats that says nothing."""
    return float_model(tmp_path_factory.mktemp("guesses"), "m", (0.0,), (255.0,))


@pytest.fixture(scope="module")
def spec(model: Path) -> ModelSpec:
    return open_model(model).spec


def test_normalization_color_order_and_frame_of_a_model_of_floats_that_says_nothing_are_guesses(
    spec: ModelSpec,
) -> None:
    guess = guess_of(spec)
    assert guess
    assert guess.startswith(GUESS)
    assert guess.endswith(f"dropsight inspect {spec.path} --photos DIR")
    framed = guess_of(replace(spec, framing_from="config", color_order_from="config"))
    assert framed
    assert framed.startswith("normalization is a guess: nothing says what it is")


def test_what_the_config_the_sidecar_or_the_file_says_is_no_guess(spec: ModelSpec) -> None:
    """Nor are color order and frame, then: nearly all that say how to normalize are RGB."""
    for source in ("config", "metadata", "/m.yaml", "graph"):
        assert guess_of(replace(spec, normalization_from=source)) is None
    layout = guess_of(replace(spec, normalization_from="config", layout_from="default"))
    assert layout == "layout is a guess: nothing says what it is; set model.layout"
    size = guess_of(replace(spec, normalization_from="config", size_from="default"))
    assert size == "input size is a guess: nothing says what it is; set model.input_size"


def test_neither_the_bundled_model_nor_a_copy_without_its_sidecar_is_a_guess(tmp_path: Path) -> None:
    """Its steps are those of [-1, 1]."""
    shutil.copy(locate("builtin:efficientnet_lite0"), tmp_path / "m.tflite")
    for path in ("builtin:efficientnet_lite0", tmp_path / "m.tflite"):
        assert guess_of(open_model(path).spec) is None


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "source"),
    [
        (np.int8, 1 / 255, -128, "quantization"),
        (np.uint8, 2 / 255, 128, "quantization"),
        (np.uint8, 1.0, 0, "quantization"),
        (np.uint8, 0.0, 0, "dtype"),
        (np.int8, 0.0, 0, "default"),
        (np.uint8, 0.0187, 113, "default"),
        (np.float32, 0.0, 0, "default"),
    ],
)
def test_integers_that_are_quantized_as_a_usual_range_is_are_no_guess(
    tmp_path: Path, dtype: type[np.generic], scale: float, zero_point: int, source: str
) -> None:
    """Those of ImageNet's mean and deviation have a scale for each channel, which one scale cannot tell."""
    tensor = TensorSpec("image", (1, 224, 224, 3), np.dtype(dtype), scale, zero_point)
    found = describe(tmp_path / "m", ModelOverrides(), tensor=tensor, classes=2)
    assert found.normalization_from == source


@pytest.mark.slow
def test_every_command_says_what_is_a_guess(model: Path, tmp_path: Path) -> None:
    assert f"guess          {GUESS}" in dropsight("inspect", str(model)).stdout
    assert json.loads(dropsight("inspect", str(model), "--json").stdout)["guess"].startswith(GUESS)
    house = House(tmp_path, {"model": {"path": str(model)}})
    assert f"warn  model    {GUESS}" in dropsight("check", "-c", str(house.config)).stdout
    classified = dropsight("classify", str(PHOTOS[0]), "--model", str(model))
    assert classified.stderr.count(GUESS) == 1


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as started:
        yield started


@pytest.mark.slow
@pytest.mark.broker
def test_the_daemon_says_it_in_its_log_its_status_and_its_info(
    model: Path, tmp_path: Path, broker: Mosquitto
) -> None:
    house = House(tmp_path, {"model": {"path": str(model)}, "mqtt": {"url": broker.url}})
    house.start()
    try:
        assert house.daemon_log().count(GUESS) == 1
        assert house.status()["model"]["guess"].startswith(GUESS)
        assert f"guess      {GUESS}" in dropsight("status", "-c", str(house.config)).stdout
        with Subscriber(broker.port) as subscriber:
            wait_until(lambda: bool(subscriber.topics("/info")))
            info = json.loads(subscriber.topics("/info")[-1])
        assert info["model"]["guess"].startswith(GUESS)
    finally:
        house.kill()


def test_the_color_order_comes_from_the_config_else_the_sidecar(model: Path, tmp_path: Path) -> None:
    shutil.copy(model, tmp_path / "m.tflite")
    (tmp_path / "m.yaml").write_text("color_order: BGR\n")
    spec = open_model(tmp_path / "m.tflite").spec
    assert (spec.color_order, spec.color_order_from) == ("BGR", str(tmp_path / "m.yaml"))
    config = tmp_path / "dropsight.yaml"
    config.write_text("model: {color_order: RGB}\n")
    said = ModelOverrides.of(load(config).model)
    spec = open_model(tmp_path / "m.tflite", said=said).spec
    assert (spec.color_order, spec.color_order_from) == ("RGB", "config")
    config.write_text("model: {color_order: GBR}\n")
    with pytest.raises(ConfigError, match="color_order"):
        load(config)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_model_of_blue_first_gets_it_first_with_the_normalization_in_that_order(
    spec: ModelSpec, layout: str
) -> None:
    shape = (1, 224, 224, 3) if layout == "NHWC" else (1, 3, 224, 224)
    mean = Normalization((100.0, 110.0, 120.0), (1.0, 2.0, 4.0))
    blue_first = replace(
        spec,
        color_order="BGR",
        normalization=mean,
        layout=layout,
        input=replace(spec.input, shape=shape),
    )
    framed = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    preparation = Preparation(blue_first)
    (batch,) = preparation.batch([framed])
    channels_last = batch if layout == "NHWC" else batch.transpose(1, 2, 0)
    wanted = (framed[..., ::-1] - np.array(mean.mean)) / np.array(mean.std)
    np.testing.assert_allclose(channels_last, wanted, atol=1e-4)
    np.testing.assert_array_equal(preparation.pixels_of(batch), framed)


def test_integers_of_blue_first_are_shifted_in_that_order() -> None:
    spec = replace(open_model("builtin:efficientnet_lite0").spec, color_order="BGR")
    framed = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    (batch,) = Preparation(spec).batch([framed])
    np.testing.assert_array_equal(batch.astype(np.int16) + 128, framed[..., ::-1])
