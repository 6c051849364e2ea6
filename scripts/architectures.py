"""Six architectures, each with the normalisation that its weights were trained with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

SIZE = 224


@dataclass(frozen=True, slots=True)
class Architecture:
    """`make` takes the number of classes; (pixel - mean) / std is what the model takes."""

    make: Callable[[int], keras.Model]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _application(name: str) -> Callable[[int], keras.Model]:
    def make(classes: int) -> keras.Model:
        constructor = getattr(keras.applications, name)
        model = constructor(weights=None, classes=classes, input_shape=(SIZE, SIZE, 3))
        model.name = name.lower()
        return model

    return make


def _resnet50(classes: int) -> keras.Model:
    """Its weights come from Caffe, which has blue first."""
    inputs = keras.Input((SIZE, SIZE, 3))
    inner = keras.applications.ResNet50(weights=None, classes=classes, input_shape=(SIZE, SIZE, 3))
    red, green, blue = keras.ops.split(inputs, 3, axis=-1)
    return keras.Model(inputs, inner(keras.ops.concatenate([blue, green, red], axis=-1)), name="resnet50")


def _efficientnet_lite0(classes: int) -> keras.Model:
    from build_models import pretrained

    base = pretrained()
    if classes == base.output_shape[-1]:
        return base
    head = keras.layers.Dense(classes, activation="softmax", name="probabilities_of_my_classes")
    features = base.get_layer("features").output
    return keras.Model(base.input, head(features), name=base.name)


ARCHITECTURES = {
    "EfficientNet-Lite0": Architecture(_efficientnet_lite0, (127.0,), (128.0,)),
    "MobileNetV2": Architecture(_application("MobileNetV2"), (127.5,), (127.5,)),
    # These two normalise within the model.
    "MobileNetV3Small": Architecture(_application("MobileNetV3Small"), (0.0,), (1.0,)),
    "EfficientNetB0": Architecture(_application("EfficientNetB0"), (0.0,), (1.0,)),
    "ResNet50": Architecture(_resnet50, (123.68, 116.779, 103.939), (1.0,)),
    "DenseNet121": Architecture(
        _application("DenseNet121"), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    ),
}


def weighted(name: str, classes: int, weights: Path | None) -> keras.Model:
    """Make the architecture; load `weights` (.weights.h5 or .keras of the same shape) where given."""
    model = ARCHITECTURES[name].make(classes)
    if weights is not None:
        if weights.suffix == ".keras":
            model.set_weights(keras.models.load_model(weights, compile=False).get_weights())
        else:
            model.load_weights(weights)
    return model
