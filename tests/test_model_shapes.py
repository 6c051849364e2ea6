"""Models as people have them: sizes left open, rows of pixels, several outputs, batches of their own."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from daemons import PHOTOS, House, dropsight
from dropsight import ImageInferenceRuntime
from dropsight.errors import ModelError
from dropsight.images.framing import Pixels, frame
from dropsight.models.backends import open_model
from dropsight.models.guesses import guess_of
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import sidecar_path

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore"),  # Keras and TensorFlow warn of each other
]
FORMS = (".tflite", ".keras", "-saved")
HEADS = {"species": 4, "sex": 1, "embedding": 8}


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def made(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Any]]:
    """Return a function from a name and a form to the file, made once, and the Keras model in it."""
    folder, known = tmp_path_factory.mktemp("shapes"), dict[str, Any]()

    def make(name: str, form: str = ".tflite", batch: int | None = None) -> tuple[Path, Any]:
        keras.utils.set_random_seed(1)
        model = known.setdefault(f"{name}{batch}", None) or network(keras, name, batch)
        known[f"{name}{batch}"] = model
        path = folder / f"{name}{batch or ''}{form}"
        if not path.exists():
            write(model, path, form)
        return path, model

    return make


def write(model: Any, path: Path, form: str) -> None:
    if form == ".keras":
        model.save(path)
    elif form == "-saved":
        model.export(path, verbose=False)
    else:
        path.write_bytes(converted(model, integers=form == "-int8.tflite"))


def converted(model: Any, *, integers: bool = False) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if integers:
        shape = (8, 1, *(size or 32 for size in model.input_shape[1:]))
        pictures = np.random.default_rng(0).random(shape).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture] for picture in pictures)
        converter.inference_input_type = converter.inference_output_type = tf.int8
    content: bytes = converter.convert()
    return content


def network(keras: Any, name: str, batch: int | None) -> Any:
    layers = keras.layers
    shapes = {"open": (None, None, 3), "rows": (28, 28), "flat": (784,), "flat-colour": (3072,)}
    inputs = keras.Input(batch_shape=(batch, *shapes.get(name, (24, 40, 3))))
    step = inputs
    if name in {"rows", "flat", "flat-colour"}:
        step = layers.Reshape((32, 32, 3) if name == "flat-colour" else (28, 28, 1))(step)
    step = layers.Conv2D(6, 3, strides=2, activation="relu", kernel_initializer="he_normal")(step)
    step = layers.GlobalAveragePooling2D()(step)
    if name == "heads":
        species = layers.Dense(4, activation="softmax", name="species", kernel_initializer="he_normal")(step)
        sex = layers.Dense(1, activation="sigmoid", name="sex", kernel_initializer="he_normal")(step)
        embedding = layers.Dense(8, name="embedding")(step)
        return keras.Model(inputs, [species, sex, embedding])
    if name == "logit":
        return keras.Model(inputs, layers.Dense(1, kernel_initializer="he_normal")(step))
    return keras.Model(inputs, layers.Dense(5, activation="softmax", kernel_initializer="he_normal")(step))


def decoded(photo: Path) -> Any:
    pixels: Any = cv2.imread(str(photo))
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def seen(photo: Path, height: int, width: int) -> Pixels:
    """Return the pixels that a model of this size is shown."""
    return frame(decoded(photo), height=height, width=width, how="crop")


def by_class(result: Any) -> list[float]:
    return [each.confidence for each in sorted(result.predictions, key=lambda each: each.class_index)]


def beside(path: Path, tmp_path: Path, sidecar: str) -> Path:
    """Return a copy of a model with a sidecar."""
    model = tmp_path / path.name
    (shutil.copytree if path.is_dir() else shutil.copy)(path, model)
    sidecar_path(model).write_text(sidecar)
    return model


def difference(runtime: ImageInferenceRuntime, own: Any, reshape: Callable[[Pixels], Any]) -> float:
    """Return the largest one from the framework's own answer, on pictures decoded whole."""
    worst = 0.0
    for photo in PHOTOS[:4]:
        pixels: Any = seen(photo, runtime.spec.height, runtime.spec.width)
        wanted = np.asarray(own(reshape(pixels.astype(np.float32) / 255)[np.newaxis]))[0]
        whole = decoded(photo)
        found = np.array(by_class(runtime.predict(whole)))
        worst = max(worst, float(np.abs(found - wanted).max()))
    return worst


@pytest.mark.parametrize("form", FORMS)
def test_a_model_that_fixes_no_size_gets_224_by_224_which_is_said_to_be_a_guess(made: Any, form: str) -> None:
    path, own = made("open", form)
    runtime = ImageInferenceRuntime(path)
    assert (runtime.spec.height, runtime.spec.width, runtime.spec.size_from) == (224, 224, "default")
    assert difference(runtime, own, lambda pixels: pixels) <= 1e-4
    if form == ".tflite":
        shown = dropsight("inspect", str(path)).stdout
        assert "224 x 224, a guess, as the model fixes none; model.input_size gives another" in shown


@pytest.mark.parametrize("form", FORMS)
def test_the_size_of_a_model_that_fixes_none_comes_from_config_or_sidecar(
    made: Any, tmp_path: Path, form: str
) -> None:
    path, own = made("open", form)
    model = beside(path, tmp_path, "input_size: [40, 64]")
    runtime = ImageInferenceRuntime(model)
    assert (runtime.spec.height, runtime.spec.width) == (40, 64)
    assert runtime.spec.size_from == str(sidecar_path(model))
    assert difference(runtime, own, lambda pixels: pixels) <= 1e-4
    spec = open_model(model, said=ModelOverrides(input_size=(48, 56))).spec
    assert (spec.height, spec.width, spec.size_from) == (48, 56, "config")


def test_a_size_that_the_model_does_not_take_is_refused(made: Any) -> None:
    path, _ = made("plain")
    with pytest.raises(ModelError, match=r"input_size \[224, 224\] \(config\): the model takes 24 x 40 only"):
        open_model(path, said=ModelOverrides(input_size=(224, 224)))


@pytest.mark.parametrize("form", [*FORMS, "-int8.tflite"])
def test_gray_images_without_channels_and_flattened_ones_are_taken_as_squares(made: Any, form: str) -> None:
    for name, shape in {"rows": (28, 28), "flat": (784,)}.items():
        path, own = made(name, form)
        runtime = ImageInferenceRuntime(path)
        assert (runtime.spec.height, runtime.spec.channels, runtime.spec.size_from) == (28, 1, "square")
        assert "input size" in str(guess_of(runtime.spec))
        least = 1e-4 if "int8" not in form else 0.02

        def gray(pixels: Any, shape: tuple[int, ...] = shape) -> Any:
            eight_bits = np.rint(pixels * 255).astype(np.uint8)
            return (cv2.cvtColor(eight_bits, cv2.COLOR_RGB2GRAY) / 255).reshape(shape)

        assert difference(runtime, own, gray) <= least


def test_flattened_colours_are_taken_in_either_order(made: Any, tmp_path: Path) -> None:
    path, own = made("flat-colour")
    assert difference(ImageInferenceRuntime(path), own, np.ravel) <= 1e-4
    first = ImageInferenceRuntime(beside(path, tmp_path, "layout: NCHW"))
    assert (first.spec.height, first.spec.channels) == (32, 3)
    assert difference(first, own, lambda pixels: pixels.transpose(2, 0, 1).ravel()) <= 1e-4


def test_flattened_pixels_that_are_no_square_need_their_size(made: Any) -> None:
    path, _ = made("flat")
    spec = open_model(path, said=ModelOverrides(input_size=(14, 56))).spec
    assert (spec.height, spec.width, spec.channels, spec.size_from) == (14, 56, 1, "config")
    with pytest.raises(ModelError, match=r"\[10, 10\] \(config\): the model takes \[-1, 784\], not"):
        open_model(path, said=ModelOverrides(input_size=(10, 10)))


@pytest.mark.parametrize("form", [".tflite", "-saved"])
def test_a_batch_of_fixed_size_is_filled_up_and_cut(made: Any, form: str) -> None:
    path, own = made("plain", form, batch=4)
    batch = np.random.default_rng(0).random((6, 24, 40, 3)).astype(np.float32)
    wanted = np.concatenate([own(batch[:4]), own(batch[2:])[2:]])
    assert np.abs(open_model(path).scores(batch) - wanted).max() <= 1e-5
    runtime = ImageInferenceRuntime(path)
    whole = by_class(runtime.predict(PHOTOS[0]))
    views = ImageInferenceRuntime(path, use_tta=True, tta_transforms=["original"] * 1).predict(PHOTOS[0])
    assert by_class(views) == whole


@pytest.mark.parametrize("form", FORMS)
def test_a_model_with_several_outputs_is_refused_with_what_they_look_like(made: Any, form: str) -> None:
    path, _ = made("heads", form)
    with pytest.raises(ModelError) as caught:
        open_model(path)
    told = str(caught.value)
    assert "it has several outputs: 0 " in told
    for likeness in (
        "4 classes, after softmax",
        "1 score, after a sigmoid",
        "8 numbers without an activation",
    ):
        assert likeness in told
    assert told.endswith("`output: 0`, or for several in a record `heads: {species: 0, sex: 1}`")


def own_answers(path: Path, own: Any, photo: Path) -> dict[str, Any]:
    """Return the framework's own; of an integer model, its interpreter's on the same picture."""
    picture = seen(photo, 24, 40)[np.newaxis].astype(np.float32) / 255
    answers = (
        interpreted(path, picture) if "int8" in path.name else [np.asarray(each) for each in own(picture)]
    )
    return {name: next(each[0] for each in answers if each.shape[-1] == size) for name, size in HEADS.items()}


def interpreted(path: Path, picture: Any) -> list[Any]:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    (wanted,) = interpreter.get_input_details()
    scale, zero = wanted["quantization"]
    interpreter.set_tensor(wanted["index"], np.rint(picture / scale + zero).clip(-128, 127).astype(np.int8))
    interpreter.invoke()
    return [
        (interpreter.get_tensor(each["index"]).astype(np.float32) - each["quantization"][1])
        * each["quantization"][0]
        for each in interpreter.get_output_details()
    ]


@pytest.mark.parametrize("form", [".keras", "-saved", ".tflite"])
def test_one_of_several_outputs_is_chosen_by_name_or_number(made: Any, tmp_path: Path, form: str) -> None:
    path, own = made("heads", form)
    with pytest.raises(ModelError, match=r"model\.output: it has no output boxes, but 0 "):
        open_model(path, said=ModelOverrides(output="boxes"))
    names = output_names(path)
    for number, name in enumerate(names):
        if len(said_labels := open_model(path, said=ModelOverrides(output=name)).spec.labels) != 4:
            continue
        model = beside(path, tmp_path, f"output: {number}")
        runtime = ImageInferenceRuntime(model)
        assert len(runtime.spec.labels) == len(said_labels) == 4
        whole = decoded(PHOTOS[0])
        wanted = own_answers(path, own, PHOTOS[0])["species"]
        assert np.abs(by_class(runtime.predict(whole)) - wanted).max() <= 1e-4
        return
    pytest.fail("none of the outputs has four classes")


def output_names(path: Path) -> list[str]:
    """Return the names of the outputs in their order, as the refusal lists them."""
    with pytest.raises(ModelError) as caught:
        open_model(path)
    listed = str(caught.value).partition("several outputs: ")[2].partition("; say which")[0]
    return [each.split()[1] for each in listed.split("; ")]


def numbers(path: Path) -> dict[str, int]:
    """Return the numbers of the heads, by the likeness that the refusal tells."""
    with pytest.raises(ModelError) as caught:
        open_model(path)
    listed = str(caught.value).partition("several outputs: ")[2].partition("; say which")[0].split("; ")
    words = {"species": "softmax", "sex": "sigmoid", "embedding": "without"}
    return {
        name: next(number for number, each in enumerate(listed) if word in each)
        for name, word in words.items()
    }


@pytest.mark.parametrize("form", [".keras", "-saved", ".tflite", "-int8.tflite"])
def test_several_heads_answer_in_one_result_with_labels_of_their_own(
    made: Any, tmp_path: Path, form: str
) -> None:
    path, own = made("heads", form)
    found = numbers(path)
    (tmp_path / "sexes.txt").write_text("male\nfemale\n")
    (tmp_path / "birds.txt").write_text("jay\nmagpie\ncrow\nrook\n")
    model = beside(
        path,
        tmp_path,
        f"labels: birds.txt\nheads: {{species: {found['species']}, "
        f"sex: {{output: {found['sex']}, labels: sexes.txt}}}}",
    )
    runtime = ImageInferenceRuntime(model)
    assert [head.name for head in runtime.spec.heads] == ["species", "sex"]
    most = 1e-4 if "int8" not in form else 1 / 256
    for photo in PHOTOS[:3]:
        whole = decoded(photo)
        result, wanted = runtime.predict(whole), own_answers(path, own, photo)
        assert isinstance(result.heads, dict)
        assert np.abs(by_class(result.heads["species"]) - wanted["species"]).max() <= most
        female = wanted["sex"][0]
        assert np.abs(by_class(result.heads["sex"]) - np.array([1 - female, female])).max() <= most
        assert result.heads["sex"].label in {"male", "female"}
        assert result.predictions == result.heads["species"].predictions
        assert result.label in {"jay", "magpie", "crow", "rook"}


def test_the_names_of_a_signature_choose_the_heads_of_a_tflite_model(made: Any) -> None:
    import tensorflow as tf

    path, _ = made("heads")
    names = tf.lite.Interpreter(str(path)).get_signature_runner().get_output_details()
    said = ModelOverrides(output=next(name for name, each in names.items() if each["shape"][-1] == 4))
    assert len(open_model(path, said=said).spec.labels) == 4


def test_every_head_is_in_the_log_and_inspect_tells_of_them(made: Any, tmp_path: Path) -> None:
    path, _ = made("heads")
    found = numbers(path)
    (tmp_path / "sexes.txt").write_text("male\nfemale\n")
    # YAML is written with its keys in order.
    heads = {"a": found["species"], "b": {"output": found["sex"], "labels": str(tmp_path / "sexes.txt")}}
    house = House(tmp_path, {"model": {"path": str(path), "heads": heads}})
    shutil.copy(PHOTOS[0], house.inbox)
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0, done.stderr
    (record,) = house.records()
    assert list(record["heads"]) == ["a", "b"]
    assert record["heads"]["a"]["label"] == record["label"]
    assert record["heads"]["b"]["label"] in {"male", "female"}
    assert list(record["heads"]["b"]) == ["predicted_class", "label", "confidence", "predictions"]
    assert "classes: 4 of a, 2 of b" in dropsight("check", "-c", str(house.config)).stdout
    shown = dropsight("inspect", "-c", str(house.config)).stdout
    assert "head b         2 classes (male, female)" in shown


def test_labels_of_a_head_that_do_not_fit_are_refused(made: Any, tmp_path: Path) -> None:
    path, _ = made("heads")
    (tmp_path / "sexes.txt").write_text("male\nfemale\nqueen\n")
    found = numbers(path)
    model = beside(path, tmp_path, f"heads: {{sex: {{output: {found['sex']}, labels: sexes.txt}}}}")
    with pytest.raises(ModelError, match=r"sexes\.txt: 3 names for a model of 2 classes"):
        open_model(model)


def test_measures_and_maps_of_a_model_with_heads_are_those_of_the_main_answer(
    made: Any, tmp_path: Path
) -> None:
    from dropsight.explain.explaining import Explainer

    path, own = made("heads", ".keras")
    model = beside(path, tmp_path, "heads: {species: species, sex: sex}")
    ((_, scores),) = ImageInferenceRuntime(model).scores([PHOTOS[0]])
    assert isinstance(scores, np.ndarray)
    assert scores.shape == (4,)
    explainer = Explainer(open_model(model))
    assert explainer.method == "rise"
    classified = explainer.classify(seen(PHOTOS[0], 24, 40)[np.newaxis])[0]
    assert np.abs(classified - own_answers(path, own, PHOTOS[0])["species"]).max() <= 1e-4
    with pytest.raises(ModelError, match="gradcam does not support models with several outputs"):
        Explainer(open_model(model), "gradcam")


@pytest.fixture(scope="module")
def flex(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[..., Any]]:
    """Return a model with an operator of TensorFlow's own, and what it does."""
    import tensorflow as tf

    weights = np.random.default_rng(0).random((3, 5)).astype(np.float32)

    def classify(images: Any) -> Any:
        likely = tf.nn.softmax(tf.matmul(tf.reduce_mean(images, axis=(1, 2)), weights))
        return tf.nn.softmax(tf.math.erf(likely))

    concrete = tf.function(classify).get_concrete_function(tf.TensorSpec((1, 24, 40, 3), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    path = tmp_path_factory.mktemp("flex") / "m.tflite"
    path.write_bytes(converter.convert())
    return path, classify


def knows_flex(path: Path) -> bool:
    """TensorFlow's interpreter does up to 2.18."""
    import tensorflow as tf

    try:
        tf.lite.Interpreter(str(path)).allocate_tensors()
    except RuntimeError:
        return False
    return True


def test_operators_of_tensorflow_are_left_to_its_own_interpreter_and_said_to_be(flex: Any) -> None:
    path, own = flex
    if not knows_flex(path):
        told = (
            r"operators of TensorFlow's own \(FlexErf\), which the interpreter of this TensorFlow lacks: Tens"
        )
        with pytest.raises(ModelError, match=told):
            open_model(path)
        return
    runtime = ImageInferenceRuntime(path)
    assert runtime.spec.backend == "tensorflow"
    assert difference(runtime, own, lambda pixels: pixels) <= 1e-4
    told = "its operators FlexErf are TensorFlow's own, which takes more memory and time"
    assert runtime.spec.faults == (told,)
    assert told in dropsight("inspect", str(path)).stderr


def test_without_tensorflow_its_operators_are_refused_with_the_way_out(
    flex: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = flex
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    told = r"operators of TensorFlow's own \(FlexErf\), which TFLite lacks: .*tensorflow<2\.19.*; or give"
    with pytest.raises(ModelError, match=told):
        open_model(path)


def test_a_notebook_names_heads_and_size_without_a_sidecar(made: Any) -> None:
    path, own = made("heads", ".keras")
    result = ImageInferenceRuntime(path, heads={"sex": "sex", "kind": "species"}).predict(decoded(PHOTOS[0]))
    assert isinstance(result.heads, dict)
    assert list(result.heads) == ["sex", "kind"]
    wanted = own_answers(path, own, PHOTOS[0])["species"]
    assert np.abs(by_class(result.heads["kind"]) - wanted).max() <= 1e-4
    assert len(ImageInferenceRuntime(path, output="species").spec.labels) == 4
    path, _ = made("open")
    assert ImageInferenceRuntime(path, input_size=(32, 48)).spec.width == 48


@pytest.mark.parametrize("form", FORMS)
def test_views_and_copies_of_a_model_that_fixes_no_size_are_of_the_size_chosen(made: Any, form: str) -> None:
    path, own = made("open", form)
    model = open_model(path, said=ModelOverrides(input_size=(40, 56)))
    batch = np.random.default_rng(0).random((5, 40, 56, 3)).astype(np.float32)
    for each in (model, model.replicate()):
        assert np.abs(each.scores(batch) - np.asarray(own(batch))).max() <= 1e-4


def test_a_map_by_gradients_is_of_the_size_chosen(made: Any) -> None:
    from dropsight.explain.explaining import Explainer

    path, _ = made("open", ".keras")
    explainer = Explainer(open_model(path, said=ModelOverrides(input_size=(48, 64))))
    assert explainer.method == "gradcam"
    assert explainer.explain(decoded(PHOTOS[0]))[0].heatmap.shape == (48, 64)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_whole_numbers_that_nothing_scales_are_the_pixels_themselves(tmp_path: Path, dtype: str) -> None:
    import tensorflow as tf

    module = tf.Module()

    def classify(images: Any) -> Any:
        return {"probs": tf.nn.softmax(tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2)) / 20)}

    module.classify = tf.function(classify, input_signature=[tf.TensorSpec((None, 24, 40, 3), dtype)])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.classify)
    runtime = ImageInferenceRuntime(tmp_path / "saved")
    assert (runtime.spec.input.dtype.name, runtime.spec.normalization_from) == (dtype, "dtype")
    pixels = seen(PHOTOS[0], 24, 40)
    wanted = classify(pixels[np.newaxis])["probs"][0]
    assert np.abs(by_class(runtime.predict(decoded(PHOTOS[0]))) - wanted).max() <= 1e-4


@pytest.mark.parametrize("form", FORMS)
def test_a_model_that_ends_in_one_logit_answers_with_two_classes(made: Any, form: str) -> None:
    path, own = made("logit", form)
    runtime = ImageInferenceRuntime(path)
    assert (runtime.spec.activation, runtime.spec.labels) == ("none", ("class 0", "class 1"))

    def both(pixels: Any) -> Any:
        second = 1 / (1 + np.exp(-np.asarray(own(pixels))))
        return np.concatenate([1 - second, second], axis=1)

    assert difference(runtime, both, lambda pixels: pixels) <= 1e-4
