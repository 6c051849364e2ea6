"""EfficientNet-Lite0 in Keras, with the ImageNet weights of a PyTorch state dict.

EfficientNet-B0 (Tan and Le 2019, table 1) without squeeze-and-excite, with ReLU6 everywhere.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

Weights: TypeAlias = Mapping[str, NDArray[np.generic]]

SIZE = 224
CLASSES = 1000
MEAN, STD = 127.0, 128.0
_EPSILON = 1e-3


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite0(weights: Weights) -> keras.Model:
    """Build the classifier: (n, 224, 224, 3) of (pixel - 127) / 128 to (n, 1000) probabilities."""
    build = _Builder(weights)
    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    tensor = build.relu6(build.norm(build.conv(inputs, "_conv_stem", 3, 32, stride=2), "_bn0"))
    number = 0
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            tensor = build.block(tensor, f"_blocks.{number}", stage, stride=1 if repeat else stage.stride)
            number += 1
    tensor = build.relu6(build.norm(build.conv(tensor, "_conv_head", 1, 1280), "_bn1"))
    tensor = layers.GlobalAveragePooling2D(name="features")(tensor)
    logits = layers.Dense(CLASSES, name="logits")(tensor)
    model = keras.Model(inputs, layers.Softmax(name="probabilities")(logits), name="efficientnet_lite0")
    build.fill(model)
    return model


class _Builder:
    """Names each layer after its weights, so that filling them in is one look-up a layer."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._sources: dict[str, str] = {"logits": "_fc"}

    def block(self, tensor: keras.KerasTensor, name: str, stage: _Stage, *, stride: int) -> keras.KerasTensor:
        """Expand, filter each channel, project; add the input where the shapes allow it."""
        inputs, channels = tensor, tensor.shape[-1]
        if stage.expansion > 1:
            tensor = self.conv(tensor, f"{name}._expand_conv", 1, channels * stage.expansion)
            tensor = self.relu6(self.norm(tensor, f"{name}._bn0"))
        depthwise = self._layer_name(f"{name}._depthwise_conv")
        tensor = layers.DepthwiseConv2D(stage.kernel, stride, padding="same", use_bias=False, name=depthwise)(
            tensor
        )
        tensor = self.relu6(self.norm(tensor, f"{name}._bn1"))
        tensor = self.norm(self.conv(tensor, f"{name}._project_conv", 1, stage.channels), f"{name}._bn2")
        same = stride == 1 and channels == stage.channels
        return layers.Add()([inputs, tensor]) if same else tensor

    def conv(
        self, tensor: keras.KerasTensor, name: str, kernel: int, channels: int, *, stride: int = 1
    ) -> keras.KerasTensor:
        convolve = layers.Conv2D(
            channels, kernel, stride, padding="same", use_bias=False, name=self._layer_name(name)
        )
        return convolve(tensor)

    def norm(self, tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return layers.BatchNormalization(epsilon=_EPSILON, name=self._layer_name(name))(tensor)

    def relu6(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        return layers.ReLU(6.0)(tensor)

    def fill(self, model: keras.Model) -> None:
        for layer, source in self._sources.items():
            model.get_layer(layer).set_weights(self._arrays(source))

    def _layer_name(self, source: str) -> str:
        layer = source.strip("_").replace(".", "_")
        self._sources[layer] = source
        return layer

    def _arrays(self, source: str) -> list[NDArray[np.generic]]:
        kernel = self._weights[f"{source}.weight"]
        if f"{source}.running_mean" in self._weights:
            others = ("bias", "running_mean", "running_var")
            return [kernel, *(self._weights[f"{source}.{part}"] for part in others)]
        if kernel.ndim == 2:  # (out, in) -> (in, out)
            return [kernel.T, self._weights[f"{source}.bias"]]
        if source.endswith("_depthwise_conv"):  # (C, 1, k, k) -> (k, k, C, 1)
            return [kernel.transpose(2, 3, 0, 1)]
        return [kernel.transpose(2, 3, 1, 0)]  # (O, I, k, k) -> (k, k, I, O)
