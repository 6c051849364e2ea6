"""Small Keras classifiers of every build; the last map is that of the layer "maps"."""

from typing import Any

import keras
import numpy as np

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


class Block(keras.layers.Layer):  # type: ignore[misc]
    """A layer of one's own with layers inside, as backbones have."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.convolutions = [keras.layers.Conv2D(4, 3, padding="same") for _ in range(2)]
        self.rectify = keras.layers.ReLU(name="maps")

    def build(self, _shape: Any) -> None:
        """Leave it to the first call."""

    def call(self, inputs: Any) -> Any:
        for convolution in self.convolutions:
            inputs = convolution(inputs)
        return self.rectify(inputs)


class Blocks(keras.Model):  # type: ignore[misc]
    """Layers in another order than they are called in; the softmax is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = keras.layers.Dense(3)
        self.blocks = [Block(name="block")]
        self.unused = keras.layers.Conv2D(4, 3)

    def build(self, _shape: Any) -> None:
        """Leave it to the first call."""

    def call(self, inputs: Any) -> Any:
        for block in self.blocks:
            inputs = block(inputs)
        return keras.ops.softmax(self.answer(keras.ops.mean(inputs, axis=(1, 2))))


def four_levels() -> Any:
    """A subclassed model in a Sequential in a functional one in another."""
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), Blocks()])
    for _ in range(2):
        inputs = keras.Input((SIZE, SIZE, 3))
        model = keras.Model(inputs, model(inputs))
    return model


def residual() -> Any:
    """The last convolution's map is added to what went past it: the sum is what the answer comes from."""
    inputs = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    added = keras.layers.Add()([maps, keras.layers.Conv2D(4, 1)(maps)])
    return keras.Model(inputs, head(keras.layers.ReLU(name="maps")(added)))


def head_of_convolutions() -> Any:
    """As MobileNet ends: convolutions on the pooled single place, too late for a map."""
    inputs = keras.Input((SIZE, SIZE, 3))
    maps = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="maps")(inputs)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(maps)
    flat = keras.layers.Reshape((3,))(keras.layers.Conv2D(3, 1)(pooled))
    return keras.Model(inputs, keras.layers.Activation("softmax")(flat))


def shared() -> Any:
    """One convolution called twice: its last call counts."""
    inputs = keras.Input((SIZE, SIZE, 3))
    convolution = keras.layers.Conv2D(3, 3, padding="same", name="maps")
    return keras.Model(inputs, head(convolution(keras.layers.ReLU()(convolution(inputs)))))


def subclassed() -> Any:
    model = Subclassed()
    model(np.zeros((1, SIZE, SIZE, 3), np.float32))
    model.build((None, SIZE, SIZE, 3))
    return model
