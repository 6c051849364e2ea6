"""A model that scales its pixels itself is told by its constants; what goes in is what they make sense of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dropsight import ImageInferenceRuntime
from dropsight.models.backends import open_model
from dropsight.models.guesses import guess_of
from dropsight.models.scaling import Step, wanted_by
from dropsight.records import Normalization
from teachable_machines import keras, tf

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore"),
]  # Keras and TensorFlow warn of each other

PIXELS = Normalization((0.0,), (1.0,))
UNIT = Normalization((0.0,), (255.0,))
CENTRED = Normalization((127.5,), (127.5,))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BY_255 = {"mean": [255 * each for each in MEAN], "std": [255 * each for each in STD]}


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([("multiply", 1 / 255)], PIXELS),
        ([("divide", 255)], PIXELS),
        ([("multiply", 1 / 127.5), ("add", -1)], PIXELS),
        ([("subtract", 127.5), ("divide", 127.5)], PIXELS),
        ([("subtract", 127), ("multiply", 1 / 128)], PIXELS),
        ([("subtract", _BY_255["mean"]), ("divide", _BY_255["std"])], PIXELS),
        ([("divide", 255), ("subtract", MEAN), ("divide", STD)], PIXELS),
        ([("subtract", [103.939, 116.779, 123.68])], PIXELS),
        ([("subtract", MEAN), ("divide", STD)], UNIT),
        ([("multiply", 2), ("subtract", 1)], UNIT),
        ([("subtract", 0.5), ("divide", 0.5)], UNIT),
        ([("multiply", 255)], UNIT),
        ([("add", 1), ("multiply", 127.5)], CENTRED),
        ([("multiply", 0.5), ("add", 0.5)], CENTRED),
        ([], None),
        ([("multiply", 1)], None),
        ([("multiply", 0.1)], None),
        ([("divide", 0)], None),
        ([("add", [1, 2, 3])], None),
    ],
)
def test_what_goes_in_is_told_by_the_constants(steps: list[Any], wanted: Normalization | None) -> None:
    """ImageNet's mean and deviation of 0..1 leave the division by 255 to be done; others do it themselves."""
    assert wanted_by(Step(kind, np.array(constant, np.float64)) for kind, constant in steps) == wanted


def network(*first: Any) -> Any:
    """Return one whose first layers cannot be folded into what follows, as its edges are padded."""
    layers = keras.layers
    body = [
        layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
    ]
    keras.utils.set_random_seed(2)
    return keras.Sequential([keras.Input((32, 32, 3)), *first, *body, layers.Dense(3, "softmax")])


def beginning() -> Any:
    image = keras.Input((32, 32, 3))
    return keras.Model(image, keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image))


def nested(base: Any, *first: Any) -> Any:
    image = found = keras.Input((32, 32, 3))
    for each in first:
        found = each(found)
    answer = keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(base(found)))
    return keras.Model(image, answer)


def networks() -> dict[str, tuple[Any, Normalization]]:
    layers, known = keras.layers, keras.applications
    options = {"weights": None, "input_shape": (32, 32, 3), "include_top": False}
    imagenet = layers.Normalization(mean=MEAN, variance=[each**2 for each in STD])
    return {
        "offset": (network(layers.Rescaling(1 / 127.5, offset=-1)), PIXELS),
        "channels": (network(layers.Rescaling([1 / 58, 1 / 57, 1 / 57], offset=[-2.1, -2.0, -1.8])), PIXELS),
        "deviation": (network(imagenet), UNIT),
        "both": (
            network(layers.Rescaling(1 / 255), imagenet),
            PIXELS,
        ),
        "mobilenet_v3": (nested(known.MobileNetV3Small(alpha=0.35, minimalistic=True, **options)), PIXELS),
        "preprocess_input": (nested(beginning(), known.mobilenet_v2.preprocess_input), PIXELS),
    }


@pytest.fixture(scope="module")
def built() -> dict[str, tuple[Any, Normalization]]:
    return networks()


def write(model: Any, form: str, folder: Path) -> Path:
    path = folder / f"m.{form}"
    match form:
        case "keras":
            model.save(path)
        case "saved_model":
            model.export(path, verbose=False)
        case _:
            path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


NAMES = ("offset", "channels", "deviation", "both", "preprocess_input")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, form) for name in NAMES for form in ("keras", "tflite")),
        ("mobilenet_v3", "tflite"),  # as .keras it is in the table of docs/models.md
        *((name, "saved_model") for name in ("offset", "deviation", "both")),
    ],
)
def test_scaling_in_the_graph_is_found_and_not_done_twice(
    built: dict[str, tuple[Any, Normalization]], name: str, form: str, tmp_path: Path
) -> None:
    model, wanted = built[name]
    path = write(model, form, tmp_path)
    spec = open_model(path).spec
    assert (spec.normalization, spec.normalization_from) == (wanted, "graph")
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    scaled = (picture.astype(np.float32) / wanted.std[0])[np.newaxis]
    answers = ImageInferenceRuntime(path, resize="stretch", top_k=3).predict(picture).top_5_predictions
    ours = [answers[str(index)] for index in range(3)]
    np.testing.assert_allclose(ours, np.asarray(model(scaled))[0], atol=1e-4)


@pytest.mark.parametrize(("first", "wanted"), [(1 / 255, PIXELS), (1.0, UNIT)])
def test_a_scaling_folded_into_the_first_weights_is_guessed_by_their_size(
    tmp_path: Path, first: float, wanted: Normalization
) -> None:
    """As converters do where no edge is padded; that it is a guess is said."""
    layers = keras.layers
    keras.utils.set_random_seed(2)
    convolution, pooling = layers.Conv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D()
    scaling = layers.Rescaling(first)
    body = [scaling, convolution, pooling, layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((32, 32, 3)), *body])
    spec = open_model(write(model, "tflite", tmp_path)).spec
    assert (spec.normalization, spec.normalization_from) == (wanted, "default")
    assert guess_of(spec)
