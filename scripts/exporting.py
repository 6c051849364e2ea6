"""A Keras model in every format, each with the sidecar that says how to use it."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
import yaml

Normalized = NDArray[np.float32]  # (height, width, 3), as the model takes it
Configure = Callable[[tf.lite.TFLiteConverter, Iterable[Normalized]], None]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model cannot say itself: (pixel - mean) / std, the labels' file, the temperature."""

    mean: Sequence[float]
    std: Sequence[float]
    labels: Path | None = None
    temperature: float = 1.0


def _float32(_: tf.lite.TFLiteConverter, __: Iterable[Normalized]) -> None:
    pass


def _fp16(converter: tf.lite.TFLiteConverter, _: Iterable[Normalized]) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(converter: tf.lite.TFLiteConverter, _: Iterable[Normalized]) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # Interpreters of 2023 know no dense layer with one scale per channel.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001


def _integer(dtype: tf.DType) -> Configure:
    def configure(converter: tf.lite.TFLiteConverter, representative: Iterable[Normalized]) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([each[np.newaxis]] for each in representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = dtype

    return configure


TFLITE: dict[str, Configure] = {
    "float32": _float32,
    "fp16": _fp16,
    "dynamic": _dynamic,
    "int8": _integer(tf.int8),
    "uint8": _integer(tf.uint8),
}
FORMATS = (*TFLITE, "keras", "saved_model")


def export(
    model: keras.Model,
    folder: Path,
    usage: Usage,
    *,
    representative: Sequence[Normalized] = (),
    formats: Sequence[str] = FORMATS,
) -> dict[str, Path]:
    """Write each format and its sidecar; return the paths by format.

    Raises ValueError where an integer format has no representative images.
    """
    if not len(representative) and {"int8", "uint8"} & set(formats):
        raise ValueError("int8 and uint8 need representative images: photos such as the camera will take")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as work:
        graph = Path(work) / "saved_model"
        if set(formats) - {"keras"}:
            model.export(graph, verbose=False)  # once: each conversion would trace the model anew
        paths = {kind: _write(model, folder, kind, graph, representative) for kind in formats}
    for path in paths.values():
        _write_sidecar(path, usage)
    return paths


def _write(
    model: keras.Model, folder: Path, kind: str, graph: Path, representative: Sequence[Normalized]
) -> Path:
    path = folder / f"{model.name}_{kind}.tflite"
    if kind == "keras":
        path = folder / f"{model.name}.keras"
        model.save(path)
    elif kind == "saved_model":
        path = folder / f"{model.name}_saved_model"
        shutil.copytree(graph, path, dirs_exist_ok=True)
    else:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(graph))
        TFLITE[kind](converter, representative)
        path.write_bytes(converter.convert())
    return path


def _write_sidecar(model: Path, usage: Usage) -> None:
    said: dict[str, object] = {}
    if usage.labels is not None:
        target = model.parent / usage.labels.name
        if target.resolve() != usage.labels.resolve():
            shutil.copyfile(usage.labels, target)
        said["labels"] = target.name
    said["normalization"] = {"mean": list(map(float, usage.mean)), "std": list(map(float, usage.std))}
    if usage.temperature != 1.0:
        said["temperature"] = round(usage.temperature, 4)
    text = "# What dropsight has to know of the model beside it.\n"
    text += yaml.safe_dump(said, sort_keys=False, default_flow_style=None)
    model.with_suffix(".yaml").write_text(text, encoding="utf-8")
