"""Models in the form of Teachable Machine's four exports, small, with weights by chance."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


class _WhenUsed:
    """Imported by the test that needs it: as a file of tests is collected, every process would."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # which pytest asks of all that a file has
            raise AttributeError(attribute)
        return getattr(pytest.importorskip(self._name), attribute)


tf, keras = _WhenUsed("tensorflow"), _WhenUsed("keras")

SIDE = 64
_DTYPE = {"trainable": True, "dtype": "float32"}
_ZEROS = {"class_name": "Zeros", "config": {"dtype": "float32"}}
_FAN = {"scale": 1, "mode": "fan_avg", "distribution": "uniform", "seed": None, "dtype": "float32"}
_VARIANCE = {"class_name": "VarianceScaling", "config": _FAN}
_CONVOLUTION = {
    **_DTYPE,
    "kernel_size": [3, 3],
    "padding": "valid",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "groups": 1,
    "activation": "linear",
    "use_bias": False,
    "bias_initializer": _ZEROS,
}


def model() -> Any:
    """Return a Sequential of a MobileNet's beginning with its pooling, and of two dense layers."""
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3), name="input_1")
    found = layers.ZeroPadding2D(((0, 1), (0, 1)), name="Conv1_pad")(image)
    found = layers.Conv2D(8, 3, strides=2, use_bias=False, name="Conv1")(found)
    found = layers.BatchNormalization(name="bn_Conv1")(found)
    found = layers.ReLU(6.0, name="Conv1_relu")(found)
    found = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="expanded_conv_depthwise")(found)
    found = layers.ReLU(6.0, name="out_relu")(found)
    pooling = layers.GlobalAveragePooling2D(name="global_average_pooling2d_GlobalAveragePooling2D1")
    features = [keras.Model(image, found, name="model1"), pooling]
    head = [
        layers.Dense(10, "relu", name="dense_Dense1"),
        layers.Dense(3, "softmax", use_bias=False, name="dense_Dense2"),
    ]
    whole = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3), name="sequential_1_input"),
            keras.Sequential(features, name="sequential_1"),
            keras.Sequential(head, name="sequential_3"),
        ],
        name="sequential_4",
    )
    chance = np.random.default_rng(3)
    weights = [chance.normal(0.1, 0.6, each.shape).astype(np.float32) for each in whole.get_weights()]
    weights[3:5] = [weights[3] * 0.1, np.abs(weights[4]) + 0.5]  # the normalization's mean and variance
    whole.set_weights(weights)
    return whole


def write_h5(whole: Any, path: Path, *, version: str = "2.4.0") -> None:
    """Save it as Keras 2 did: weights as they are, the description in its words."""
    h5py: Any = pytest.importorskip("h5py")

    whole.save(path)
    with h5py.File(path, "r+") as archive:
        archive.attrs["model_config"] = json.dumps(description())
        archive.attrs["keras_version"] = version


def write_tflite(folder: Path, saved_model: Path, *, quantized: bool) -> Path:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = _samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    path = folder / "m.tflite"
    path.write_bytes(converter.convert())
    return path


def _samples() -> Iterator[list[Any]]:
    chance = np.random.default_rng(1)
    for _ in range(8):
        batch = chance.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
        batch[0, 0, :2] = [[-1] * 3, [1] * 3]
        yield [batch]


def description() -> dict[str, Any]:
    """Return what Keras 2.4 wrote of it."""
    padding = {"name": "Conv1_pad", **_DTYPE, "padding": [[0, 1], [0, 1]], "data_format": "channels_last"}
    convolution = {"name": "Conv1", **_CONVOLUTION, "filters": 8, "strides": [2, 2]}
    convolution["kernel_initializer"] = _VARIANCE
    normalization = {"name": "bn_Conv1", **_DTYPE, "axis": [3], "momentum": 0.999, "epsilon": 0.001}
    depthwise = {"name": "expanded_conv_depthwise", **_CONVOLUTION, "strides": [1, 1], "padding": "same"}
    depthwise |= {"depth_multiplier": 1, "depthwise_initializer": _VARIANCE}
    layers = [
        _node("InputLayer", _input("input_1"), None),
        _node("ZeroPadding2D", padding, "input_1"),
        _node("Conv2D", convolution, "Conv1_pad"),
        _node("BatchNormalization", normalization, "Conv1"),
        _node("ReLU", _relu("Conv1_relu"), "bn_Conv1"),
        _node("DepthwiseConv2D", depthwise, "Conv1_relu"),
        _node("ReLU", _relu("out_relu"), "expanded_conv_depthwise"),
    ]
    ends = {"input_layers": [["input_1", 0, 0]], "output_layers": [["out_relu", 0, 0]]}
    model1 = {"class_name": "Model", "config": {"name": "model1", "layers": layers, **ends}}
    pooling = {"name": "global_average_pooling2d_GlobalAveragePooling2D1", **_DTYPE}
    features = [model1, {"class_name": "GlobalAveragePooling2D", "config": pooling}]
    first = _dense("dense_Dense1", 10, "relu", use_bias=True) | {"batch_input_shape": [None, 8]}
    head = [first, _dense("dense_Dense2", 3, "softmax", use_bias=False)]
    parts = [
        {"class_name": "InputLayer", "config": _input("sequential_1_input")},
        {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": features}},
        _sequential("sequential_3", [{"class_name": "Dense", "config": each} for each in head]),
    ]
    return _sequential("sequential_4", parts)


def _sequential(name: str, layers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": name, "layers": layers}}


def _node(kind: str, config: dict[str, Any], source: str | None) -> dict[str, Any]:
    inbound = [[[source, 0, 0, {}]]] if source else []
    return {"class_name": kind, "config": config, "name": config["name"], "inbound_nodes": inbound}


def _input(name: str) -> dict[str, Any]:
    shape = [None, SIDE, SIDE, 3]
    return {"batch_input_shape": shape, "dtype": "float32", "sparse": False, "ragged": False, "name": name}


def _relu(name: str) -> dict[str, Any]:
    return {"name": name, **_DTYPE, "max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}


def _dense(name: str, units: int, activation: str, *, use_bias: bool) -> dict[str, Any]:
    kernel = {"kernel_initializer": _VARIANCE, "bias_initializer": _ZEROS}
    return {"name": name, **_DTYPE, "units": units, "activation": activation, "use_bias": use_bias, **kernel}
