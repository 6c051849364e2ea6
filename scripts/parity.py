"""Compare every format of six architectures with the Keras model they came from, on the sample photos.

    python scripts/parity.py -o docs/parity.md

EfficientNet-Lite0 has its ImageNet weights; the others random bodies, and a head fitted to tell the sample
photos apart by their crops: without it all their classes are nearly equal, and agreement means nothing.
"""

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from architectures import ARCHITECTURES, SIZE, weighted
from crops import SAMPLES, photos_in, random_crops
from dropsight.inference.runtime import ImageInferenceRuntime
from exporting import Usage, export

FORMATS = ("keras", "saved_model", "float32", "fp16", "dynamic", "int8")
HEAD = """\
# Parity of the formats

Largest and mean absolute difference of probabilities from the Keras float32 model, and agreement of the best
class, on the 14 sample photos; size on disk; median time of an invoke with one thread. Made by
`scripts/parity.py`. EfficientNet-Lite0 has its ImageNet weights and 1,000 classes; the others have random
bodies with a head fitted to tell the 14 photos apart by their crops. A random body is harder to quantize
than a trained one, and each draw is another: INT8's agreement of MobileNetV2 came out at 36 and at 57 %, of
ResNet50 at 86 and at 100 %. Read it there as a lower bound, of which a photo is 7 %.

| architecture | format | largest | mean | top-1 agreement | MB | ms |
| --- | --- | ---: | ---: | ---: | ---: | ---: |"""


def scores(runtime: ImageInferenceRuntime) -> NDArray[np.float32]:
    """Return (photos, classes)."""
    found = [outcome for _, outcome in runtime.scores([str(path) for path in sorted(SAMPLES.glob("*.jpg"))])]
    return np.stack([outcome for outcome in found if isinstance(outcome, np.ndarray)])


def megabytes(path: Path) -> float:
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def invoke_ms(runtime: ImageInferenceRuntime) -> float:
    photo = min(SAMPLES.glob("*.jpg"))
    return statistics.median(runtime.predict(photo).latency_ms.inference for _ in range(7))


def fit_head(model: keras.Model, crops: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
    """Give the normalisation layers the crops' own statistics, and the last layer a least-squares fit."""
    inner = next((layer for layer in model.layers if isinstance(layer, keras.Model)), model)
    images = crops[..., ::-1] if inner is not model else crops  # the wrapper puts blue first
    norms = [layer for layer in inner.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    inner(images[:64], training=True)
    last = [layer for layer in inner.layers if layer.weights][-1]
    features = keras.Model(inner.input, last.input).predict(images, batch_size=32, verbose=0)
    features = features.reshape(len(features), -1)
    centre = features.mean(axis=0)
    wanted = 4.0 * np.eye(int(truth.max()) + 1)[truth]
    centred = features - centre
    ridge = np.trace(centred @ centred.T) / len(centred) * np.eye(len(centred))
    kernel = centred.T @ np.linalg.solve(centred @ centred.T + ridge, wanted)
    shape = last.get_weights()[0].shape
    last.set_weights([kernel.reshape(shape), -centre @ kernel])


def rows(name: str, folder: Path) -> Iterator[str]:
    """Yield a row of the table for each format."""
    architecture = ARCHITECTURES[name]
    mean, std = np.array(architecture.mean, np.float32), np.array(architecture.std, np.float32)
    pictures = photos_in(SAMPLES)
    crops = [(crop - mean) / std for crop in random_crops(pictures, size=SIZE, count=16 * len(pictures))]
    pretrained = name == "EfficientNet-Lite0"
    keras.utils.set_random_seed(0)
    model = weighted(name, 1000 if pretrained else len(pictures), None)
    if not pretrained:
        fit_head(model, np.stack(crops), np.arange(len(crops)) % len(pictures))
    usage = Usage(architecture.mean, architecture.std)
    paths = export(model, folder, usage, representative=crops[:56], formats=FORMATS)
    reference = scores(ImageInferenceRuntime(paths["keras"], threads=1))
    for kind, path in paths.items():
        runtime = ImageInferenceRuntime(path, threads=1)
        found = scores(runtime)
        difference = np.abs(found - reference)
        agreement = (found.argmax(axis=1) == reference.argmax(axis=1)).mean()
        yield (
            f"| {name} | {kind} | {difference.max():.1e} | {difference.mean():.1e} | {agreement:.0%} "
            f"| {megabytes(path):.1f} | {invoke_ms(runtime):.1f} |"
        )


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("names", nargs="*", metavar="ARCHITECTURE", default=list(ARCHITECTURES))
    parser.add_argument("-o", "--output", type=Path, required=True, help="where the table goes")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with arguments.output.open("w", encoding="utf-8") as file:
        print(HEAD, file=file, flush=True)
        for name in arguments.names:
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                for row in rows(name, Path(folder)):
                    print(row, file=file, flush=True)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
