"""Small models in the form in which well-known tools export them, each with its framework's own answer."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

import teachable_machines
import test_layouts
import test_model_refusals
import test_model_shapes
import test_onnx
import test_scaling
from daemons import PHOTOS
from dropsight.images.framing import Pixels
from dropsight.models.backends import locate
from dropsight.records import Normalization
from teachable_machines import keras, tf
from test_model_shapes import decoded
from tflite_metadata import metadata, with_metadata
from tiny_tflite import Tensor, tiny

Own: TypeAlias = Callable[[Pixels], NDArray[np.floating]]

PIXELS, UNIT = Normalization((0.0,), (1.0,)), Normalization((0.0,), (255.0,))
CENTRED, LITE = Normalization((127.5,), (127.5,)), Normalization((127.0,), (128.0,))
IMAGENET = Normalization(tuple(255 * test_onnx.MEAN), tuple(255 * test_onnx.STD))
SIDE = 32


@dataclass(frozen=True, slots=True)
class Shape:
    """`own` is the framework's answer to RGB pixels of the model's size, prepared as its makers do.

    `told`: the normalization that nobody can know from the file; `central`: the makers' part of a picture.
    """

    name: str
    path: Path
    own: Own
    told: Normalization | None = None
    central: float = 0.875


@dataclass(frozen=True, slots=True)
class Refused:
    """A model that is no image classifier, or for other hardware, and what is said of it."""

    name: str
    content: bytes
    said: str


def shapes(folder: Path) -> Iterator[Shape]:
    """Write them all, each into a folder of its own."""
    for family in (
        _teachable,
        _applications,
        _keras,
        _hub,
        _edge_impulse,
        _pytorch,
        _onnx,
        _answers,
        _inputs,
    ):
        yield from family(lambda: Path(tempfile.mkdtemp(dir=folder)))


def refused() -> Iterator[Refused]:
    image, classes = test_model_refusals.IMAGE, test_model_refusals.CLASSES
    bytes_in: Tensor = ("uint8", image[1])
    tokens: Tensor = ("int32", (1, 384))
    yield Refused(
        "Edge TPU compiler", tiny([bytes_in], [classes], "edgetpu-custom-op"), "compiled for the Edge TPU"
    )
    yield Refused(
        "Vela, for the Ethos-U", tiny([bytes_in], [classes], "ethos-u"), "compiled for an Ethos-U processor"
    )
    detector = "not an image classifier, but an object detector"
    post = tiny([bytes_in], [classes], "TFLite_Detection_PostProcess")
    yield Refused("TF object detection, SSD", post, detector)
    yield Refused("EfficientDet-Lite, four outputs", tiny([image], test_model_refusals.DETECTIONS), detector)
    yield Refused("MediaPipe face detection", tiny([image], test_model_refusals.ANCHORS), detector)
    rows = "rows of numbers, as object detectors (YOLO) and pose models have them"
    yield Refused("Ultralytics detect, .tflite", tiny([image], [("float32", (1, 84, 100))]), rows)
    yield Refused("MoveNet", tiny([image], [("float32", (1, 1, 17, 3))]), rows)
    places = "an answer for each place of the image, as segmentation"
    yield Refused("DeepLab", tiny([image], [("float32", (1, 65, 65, 21))]), places)
    yield Refused("BERT", tiny([tokens] * 3, [classes]), "3 inputs, not one")
    yield Refused(
        "a text classifier", tiny([("int32", (1, 128))], [classes]), "it looks like a model for text"
    )
    sound = "it looks like a model for sound (a waveform)"
    yield Refused("YAMNet", tiny([("float32", (15600,))], [classes]), sound)
    clips = "it looks like a model for clips of several frames"
    yield Refused("MoViNet, clips", tiny([("float32", (1, 5, 64, 64, 3))], [classes]), clips)
    embedding = tiny([image], [("float32", (1, 1, 1, 1024))])
    yield Refused("TF Hub feature vector", embedding, "looks like an embedding model")


Fresh: TypeAlias = Callable[[], Path]


def _teachable(fresh: Fresh) -> Iterator[Shape]:
    folders = [fresh() for _ in range(4)]
    for folder in folders:
        (folder / "labels.txt").write_text("0 Mug\n1 Flask\n2 Nothing\n")
    whole, saved = teachable_machines.model(), folders[1] / "m"
    own = _by_keras(whole, CENTRED)
    teachable_machines.write_h5(whole, folders[0] / "m.h5")
    whole.export(saved, verbose=False)
    quantized = teachable_machines.write_tflite(folders[3], saved, quantized=True)
    plain = teachable_machines.write_tflite(folders[2], saved, quantized=False)
    yield Shape("Teachable Machine, `keras_model.h5`", folders[0] / "m.h5", own, central=1.0)
    yield Shape("Teachable Machine, `model.savedmodel`", saved, own, central=1.0)
    yield Shape("Teachable Machine, `model_unquant.tflite`", plain, own, central=1.0)
    own = _by_interpreter(quantized, None)
    yield Shape("Teachable Machine, `model.tflite`", quantized, own, central=1.0)


def _applications(fresh: Fresh) -> Iterator[Shape]:
    from keras.src.applications.efficientnet import EfficientNet

    known = keras.applications
    keras.utils.set_random_seed(6)

    def nested(base: Any, *first: Any, wanted: Normalization) -> Any:
        return _lively(test_scaling.nested(base, *first), wanted)

    options = {"weights": None, "input_shape": (SIDE, SIDE, 3), "include_top": False}
    efficient = EfficientNet(0.25, 0.1, SIDE, name="efficientnetb0", **options)
    normalization = next(each for each in efficient.layers if isinstance(each, keras.layers.Normalization))
    normalization.adapt_mean.assign(test_scaling.MEAN)
    normalization.adapt_variance.assign([each**2 for each in test_scaling.STD])
    normalization.finalize_state()
    v3 = known.MobileNetV3Small(alpha=0.35, minimalistic=True, **options)
    model = nested(efficient, wanted=PIXELS)
    for form in ("keras", "tflite"):
        path = test_scaling.write(model, form, fresh())
        yield Shape(f"keras.applications EfficientNet, .{form}", path, _by_keras(model, PIXELS))
    model = nested(v3, wanted=PIXELS)
    path = test_scaling.write(model, "keras", fresh())
    yield Shape("keras.applications MobileNetV3, .keras", path, _by_keras(model, PIXELS))
    base = known.MobileNet(alpha=0.25, **options)
    prepared = nested(base, known.mobilenet.preprocess_input, wanted=PIXELS)
    path = test_scaling.write(prepared, "keras", fresh())
    name = "keras.applications MobileNet with `preprocess_input` inside, .keras"
    yield Shape(name, path, _by_keras(prepared, PIXELS))
    bare = nested(base, wanted=CENTRED)
    path = test_scaling.write(bare, "keras", fresh())
    yield Shape("keras.applications MobileNet, .keras", path, _by_keras(bare, CENTRED), told=CENTRED)


def _keras(fresh: Fresh) -> Iterator[Shape]:
    layers = keras.layers
    imagenet = layers.Normalization(mean=test_scaling.MEAN, variance=[each**2 for each in test_scaling.STD])
    offset = _lively(test_scaling.network(layers.Rescaling(1 / 127.5, offset=-1)), PIXELS)
    both = _lively(test_scaling.network(layers.Rescaling(1 / 255), imagenet), PIXELS)
    deviation = _lively(test_scaling.network(imagenet), UNIT)
    for form in ("keras", "saved_model", "tflite"):
        for name, model, wanted in (
            ("`Rescaling(1/127.5, offset=-1)`", offset, PIXELS),
            ("`Rescaling(1/255)`, `Normalization`", both, PIXELS),
            ("`Normalization` of 0..1", deviation, UNIT),
        ):
            path = test_scaling.write(model, form, fresh())
            kind = "SavedModel" if form == "saved_model" else f".{form}"
            yield Shape(f"Keras with {name}, {kind}", path, _by_keras(model, wanted))


def _hub(fresh: Fresh) -> Iterator[Shape]:
    path, model = _answering(fresh, 1001, "softmax", wanted=CENTRED)
    yield Shape("TF Hub MobileNet v1, no metadata", path, _by_keras(model, CENTRED), told=CENTRED)
    path = fresh() / "m.tflite"
    path.write_bytes(_integers(model, -1, 1, tf.uint8))
    yield Shape("TF Hub MobileNet v1, quantized", path, _by_interpreter(path, None))
    names = "".join(f"thing {number}\n" for number in range(5))
    path, model = _answering(fresh, 5, "softmax")
    plain = path.read_bytes()
    path.write_bytes(with_metadata(plain, metadata(127.5, 127.5, "l.txt"), {"l.txt": names}))
    yield Shape("TF Hub, with metadata", path, _by_keras(model, CENTRED))
    path = fresh() / "m.tflite"
    path.write_bytes(with_metadata(plain, metadata(127, 128, "l.txt"), {"l.txt": names}))
    yield Shape("MediaPipe EfficientNet-Lite, float", path, _by_keras(model, LITE))
    path = fresh() / "m.tflite"
    path.write_bytes(with_metadata(plain, metadata(0, 255, "l.txt"), {"l.txt": names}))
    yield Shape("MediaPipe Model Maker, MobileNetV2", path, _by_keras(model, UNIT))
    path = locate("builtin:efficientnet_lite0")
    yield Shape("dropsight's own EfficientNet-Lite0, int8", path, _by_interpreter(path, LITE))


def _edge_impulse(fresh: Fresh) -> Iterator[Shape]:
    for name, channels in (("color", 3), ("gray", 1)):
        model = _lively(_small((SIDE, SIDE, channels), 4, "softmax"), UNIT)
        path = fresh() / "m.tflite"
        path.write_bytes(_integers(model, 0, 1, tf.int8))
        yield Shape(f"Edge Impulse, {name}, int8", path, _by_interpreter(path, UNIT))
        path = test_scaling.write(model, "tflite", fresh())
        yield Shape(f"Edge Impulse, {name}, float32", path, _by_keras(model, UNIT), told=UNIT)


def _pytorch(fresh: Fresh) -> Iterator[Shape]:
    first, scaled = (
        _lively(test_layouts.network(keras, channels_first=True), wanted, channels_first=True)
        for wanted in (IMAGENET, UNIT)
    )
    path = test_scaling.write(first, "tflite", fresh())
    own = _by_keras(first, IMAGENET, channels_first=True)
    yield Shape("litert-torch, float32", path, own, told=IMAGENET)
    path = fresh() / "m.tflite"
    path.write_bytes(test_layouts.converted(scaled, "int8"))
    own = _by_interpreter(path, UNIT, channels_first=True)
    yield Shape("litert-torch, int8", path, own)
    last = _lively(_small((SIDE, SIDE, 3), 4, None), IMAGENET)
    own = _by_keras(last, IMAGENET, softmax=True)
    path = test_scaling.write(last, "tflite", fresh())
    yield Shape("onnx2tf of timm, float32", path, own, told=IMAGENET)
    path = fresh() / "m.tflite"
    path.write_bytes(_integers(last, -2.12, 2.64, tf.int8))
    own = _by_interpreter(path, IMAGENET, softmax=True)
    yield Shape("onnx2tf of timm, full int8", path, own, told=IMAGENET)


def _onnx(fresh: Fresh) -> Iterator[Shape]:
    path = test_onnx.classifier(fresh() / "m.onnx")
    yield Shape("timm, .onnx", path, _by_onnx(path, IMAGENET, softmax=True), told=IMAGENET)
    path = test_onnx.classifier(fresh() / "m.onnx", shape=(2, 3, SIDE, SIDE))
    own = _by_onnx(path, IMAGENET, softmax=True, batch=2)
    yield Shape("timm, .onnx, a batch of 2", path, own, told=IMAGENET)
    path = test_onnx.ultralytics(fresh() / "m.onnx")
    yield Shape("Ultralytics classify, .onnx", path, _by_onnx(path, UNIT), central=1.0)
    path = test_onnx.ultralytics(fresh() / "m.onnx", shape=("batch", 3, "height", "width"))
    yield Shape("Ultralytics classify, .onnx, `dynamic=True`", path, _by_onnx(path, UNIT), central=1.0)


def _answers(fresh: Fresh) -> Iterator[Shape]:
    path, model = _answering(fresh, 4, "sigmoid")
    yield Shape("Keras, several labels at once", path, _by_keras(model, UNIT), told=UNIT)
    path, model = _answering(fresh, 1, "sigmoid")
    yield Shape("Keras, binary, sigmoid", path, _both(_by_keras(model, UNIT)), told=UNIT)
    path, model = _answering(fresh, 1)
    logit = _by_keras(model, UNIT)
    yield Shape(
        "Keras, binary, a lone logit", path, _both(lambda pixels: _logistic(logit(pixels))), told=UNIT
    )


def _inputs(fresh: Fresh) -> Iterator[Shape]:
    for name, kind, batch in (
        ("Keras, size left open", "open", None),
        ("MNIST tutorial, `[batch, 28, 28]`", "rows", None),
        ("MNIST tutorial, `[batch, 784]`", "flat", None),
        ("CIFAR, `[batch, 3072]`", "flat-colour", None),
        ("Keras, a batch of 4", "plain", 4),
    ):
        model = _lively(test_model_shapes.network(keras, kind, batch), UNIT)
        path = test_scaling.write(model, "tflite", fresh())
        yield Shape(name, path, _by_keras(model, UNIT), told=UNIT)


def _small(shape: tuple[int, ...], classes: int, last: str | None) -> Any:
    layers = keras.layers
    keras.utils.set_random_seed(5)
    body = [layers.Conv2D(6, 3, strides=2, activation="relu"), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input(shape), *body, layers.Dense(classes, last)])


def _answering(
    fresh: Fresh, classes: int, last: str | None = None, *, wanted: Normalization = UNIT
) -> tuple[Path, Any]:
    model = _lively(_small((SIDE, SIDE, 3), classes, last), wanted)
    return test_scaling.write(model, "tflite", fresh()), model


def _lively(model: Any, wanted: Normalization, *, channels_first: bool = False) -> Any:
    """Have a model whose weights are by chance tell photos apart: only then is a wrong input seen."""
    height, width = _size(model, channels_first=channels_first)
    photos = [cv2.resize(decoded(photo), (width, height), interpolation=cv2.INTER_AREA) for photo in PHOTOS]
    batch = np.stack([_arranged(photo, wanted, model, channels_first=channels_first) for photo in photos])
    size = model.input_shape[0] or len(batch)
    parts = [batch[first : first + size] for first in range(0, len(batch) - size + 1, size)]
    for layer in model._flatten_layers():  # noqa: SLF001 - those of models inside, too
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    dense = next(each for each in reversed(model.layers) if isinstance(each, keras.layers.Dense))
    for part in parts:
        model(part, training=True)
    features = keras.Model(model.inputs, dense.input)
    found = np.concatenate([np.asarray(features(part)) for part in parts])
    kernel, *bias = dense.get_weights()
    kernel *= max(1, np.log(kernel.shape[1]) / 2) / (found @ kernel).std(axis=0)
    dense.set_weights([kernel, *(-(found @ kernel).mean(axis=0) for _ in bias)])
    return model


def _size(model: Any, *, channels_first: bool) -> tuple[int, int]:
    """Return height and width, of flattened ones, too; any will do where they are open."""
    _, *shape = model.input_shape
    flattened = {(784,): (28, 28), (3072,): (32, 32), (None, None, 3): (64, 64)}
    sizes = shape[1:] if channels_first else shape[:2]
    return flattened.get(tuple(shape)) or (sizes[0], sizes[1])


def _integers(model: Any, low: float, high: float, dtype: Any) -> bytes:
    chance = np.random.default_rng(0)

    def samples() -> Iterator[list[Any]]:
        for _ in range(8):
            batch = chance.uniform(low, high, (1, *model.input_shape[1:])).astype(np.float32)
            batch[0, 0, :2, 0] = low, high
            yield [batch]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations, converter.representative_dataset = [tf.lite.Optimize.DEFAULT], samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = dtype
    content: bytes = converter.convert()
    return content


def _prepared(pixels: Pixels, wanted: Normalization, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Return one of `shape`, in which a size may be open."""
    if shape[-1] in {1, 28, 784}:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[..., np.newaxis]
    real: NDArray[np.float32] = np.asarray((pixels - np.array(wanted.mean)) / wanted.std, np.float32)
    sizes = [size for size in shape if size]
    return real.reshape(sizes) if len(sizes) == len(shape) else real


def _arranged(
    pixels: Pixels, wanted: Normalization, model: Any, *, channels_first: bool
) -> NDArray[np.float32]:
    _, *shape = model.input_shape
    if channels_first:
        return _prepared(pixels, wanted, (*shape[1:], shape[0])).transpose(2, 0, 1)
    return _prepared(pixels, wanted, tuple(shape))


def _by_keras(
    model: Any, wanted: Normalization, *, channels_first: bool = False, softmax: bool = False
) -> Own:
    def own(pixels: Pixels) -> NDArray[np.floating]:
        one = _arranged(pixels, wanted, model, channels_first=channels_first)
        batch = np.stack([one] * (model.input_shape[0] or 1))
        answer = np.asarray(model(batch, training=False), np.float64)[0]
        return _softmax(answer) if softmax else answer

    return own


def _by_interpreter(
    path: Path, wanted: Normalization | None, *, channels_first: bool = False, softmax: bool = False
) -> Own:
    """Without a normalization wanted, the pixels themselves go in, as the tools' own examples do."""
    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()

    def quantized(pixels: Pixels, wanted: Normalization) -> NDArray[np.integer]:
        _, *shape = (int(size) for size in inputs["shape"])
        if channels_first:
            real = _prepared(pixels, wanted, (*shape[1:], shape[0])).transpose(2, 0, 1)
        else:
            real = _prepared(pixels, wanted, tuple(shape))
        (scale, zero), limits = inputs["quantization"], np.iinfo(inputs["dtype"])
        return np.asarray(np.rint(real / scale + zero).clip(limits.min, limits.max), inputs["dtype"])

    def own(pixels: Pixels) -> NDArray[np.floating]:
        steps = pixels if wanted is None else quantized(pixels, wanted)
        interpreter.set_tensor(inputs["index"], steps[np.newaxis])
        interpreter.invoke()
        scale, zero = outputs["quantization"]
        answer = (interpreter.get_tensor(outputs["index"])[0].astype(np.float64) - zero) * scale
        return _softmax(answer) if softmax else answer

    return own


def _by_onnx(path: Path, wanted: Normalization, *, softmax: bool = False, batch: int = 1) -> Own:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def own(pixels: Pixels) -> NDArray[np.floating]:
        one = _prepared(pixels, wanted, (None,)).transpose(2, 0, 1)
        answer = session.run(None, {session.get_inputs()[0].name: np.stack([one] * batch)})[0][0]
        return _softmax(answer.astype(np.float64)) if softmax else answer

    return own


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    likely = np.exp(logits - logits.max())
    return np.asarray(likely / likely.sum())


def _logistic(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(1 / (1 + np.exp(-logits)))


def _both(second: Own) -> Own:
    return lambda pixels: np.concatenate([1 - second(pixels), second(pixels)])
