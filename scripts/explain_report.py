"""Measure explanations on evidence: two photos side by side, and the map of each one's class.

    scripts/explain_report.py KERAS_MODEL [--figures FOLDER]

Pointing game (the maximum of the map lies on its photo) and the share of the map's mass there (Zhang et al.
2018); deletion and insertion (Petsiuk et al. 2018); agreement with Grad-CAM by rank correlation; and the
sanity check that maps of a model with shuffled weights are others (Adebayo et al. 2018).
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

import dropsight
from dropsight.explain.explaining import METHODS, Explainer, Method
from dropsight.explain.figures import side_by_side
from dropsight.explain.gradients import GradCAM
from dropsight.explain.heatmap import Heatmap
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels, frame
from dropsight.images.header import read_header
from dropsight.models.gradients import KerasGradients
from dropsight.models.registry import open_model

SAMPLES = Path(dropsight.__file__).parent / "samples"
BUILTIN = "builtin:efficientnet_lite0"
SIZE, TILE = 224, 112
GRAY = 127
STEPS = 28
# Of unlike things, each of which the model knows well by itself.
PAIRS = (
    ("chelsea", "coffee"),
    ("panda", "scarlet_macaw"),
    ("koala", "rocket"),
    ("polar_bear", "coffee"),
    ("lemur", "rocket"),
    ("chameleon", "chelsea"),
)


class Scene(NamedTuple):
    """Two photos side by side on gray, as the model takes it; `boxes` and `classes` are left, right."""

    pixels: Pixels
    classes: tuple[int, int]

    def box(self, side: int) -> tuple[slice, slice]:
        margin = (SIZE - TILE) // 2
        return slice(margin, margin + TILE), slice(side * TILE, (side + 1) * TILE)


def scenes() -> Iterator[Scene]:
    with (SAMPLES / "expected.csv").open(newline="") as file:
        rows = {
            Path(row["file"]).stem: int(row["expected_id"])
            for row in csv.DictReader(file)
            if row["expected_id"]
        }
    for left, right in PAIRS:
        pixels = np.full((SIZE, SIZE, 3), GRAY, np.uint8)
        scene = Scene(pixels, (rows[left], rows[right]))
        for side, name in enumerate((left, right)):
            pixels[scene.box(side)] = photo(name, TILE)
        yield scene


def photo(name: str, size: int) -> Pixels:
    data = (SAMPLES / f"{name}.jpg").read_bytes()
    pixels = decode(data, read_header(data), at_least=(size, size), how="crop")
    return frame(pixels, height=size, width=size, how="crop")


@dataclass
class Evidence:
    """Shares over all maps of a method; chance would give `energy` and `pointing` 0.25."""

    pointing: float
    energy: float
    deletion: float
    insertion: float
    like_gradcam: float


def evidence(
    explainer: Explainer, found: Sequence[Scene], reference: dict[tuple[int, int], Heatmap]
) -> Evidence:
    """Measure one method; `reference` gains its maps, or is what they are compared with."""
    rows: list[tuple[float, ...]] = []
    for number, scene in enumerate(found):
        for side, wanted in enumerate(scene.classes):
            heatmap = explainer.heatmap(scene.pixels, wanted)
            box = scene.box(side)
            top, left = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
            inside = box[0].start <= top < box[0].stop and box[1].start <= left < box[1].stop
            share = float(heatmap[box].sum() / max(float(heatmap.sum()), 1e-9))
            like = rank_correlation(heatmap, reference.setdefault((number, side), heatmap))
            rows.append(
                (float(inside), share, *deletion_and_insertion(explainer, scene, heatmap, wanted), like)
            )
    return Evidence(*(float(value) for value in np.mean(rows, axis=0)))


def rank_correlation(one: Heatmap, other: Heatmap) -> float:
    """Spearman's, on maps shrunk to 28x28: neighbouring pixels say the same."""
    small = [cv2.resize(each, (28, 28), interpolation=cv2.INTER_AREA) for each in (one, other)]
    if not all(np.ptp(each) for each in small):
        return 0.0  # a map without any structure is like nothing
    first, second = (ranks(np.asarray(each, np.float64).ravel()) for each in small)
    return float(np.corrcoef(first, second)[0, 1])


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equal values share the middle of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles: NDArray[np.float64] = np.cumsum(counts) - (counts + 1) / 2
    return middles[place]


def deletion_and_insertion(
    explainer: Explainer, scene: Scene, heatmap: Heatmap, class_index: int
) -> tuple[float, float]:
    """The mean confidence while pixels go gray, most important first; and while they come back to a blur."""
    order = np.argsort(-heatmap.ravel(), kind="stable")
    blurred = cv2.GaussianBlur(scene.pixels, (0, 0), 12)
    means = []
    for start, end in ((scene.pixels, np.full_like(scene.pixels, GRAY)), (blurred, scene.pixels)):
        shown = []
        for step in range(STEPS + 1):
            picture = start.copy().reshape(-1, 3)
            gone = order[: len(order) * step // STEPS]
            picture[gone] = end.reshape(-1, 3)[gone]
            shown.append(picture.reshape(scene.pixels.shape))
        means.append(float(explainer.classify(np.stack(shown))[:, class_index].mean()))
    return means[0], means[1]


def sanity(model: Path, found: Sequence[Scene]) -> float:
    """The mean rank correlation of Grad-CAM's maps before and after the weights are shuffled."""
    normalization = open_model(model).spec.normalization
    trained, shuffled = KerasGradients.open(model), KerasGradients.open(model)
    shuffled.shuffle_weights(seed=1)
    maps = [GradCAM(each, normalization=normalization) for each in (trained, shuffled)]
    values = []
    for scene in found:
        before, after = (each.compute_heatmap(scene.pixels, scene.classes[0]) for each in maps)
        values.append(rank_correlation(before, after))
    return float(np.mean(values))


def report(model: Path, methods: Sequence[Method] = METHODS) -> Iterator[tuple[str, Evidence]]:
    """Gradient methods on the Keras model, the others on the built-in INT8 one as it runs."""
    found, reference = list(scenes()), dict[tuple[int, int], Heatmap]()
    for method in methods:
        gradient_free = method in {"occlusion", "rise"}
        explainer = Explainer(open_model(BUILTIN if gradient_free else model), method)
        yield f"{method} ({explainer.spec.name})", evidence(explainer, found, reference)


def figures(model: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    first = next(scenes())
    for method in ("gradcam", "smoothgrad", "integrated", "occlusion", "rise"):
        gradient_free = method in {"occlusion", "rise"}
        explainer = Explainer(open_model(BUILTIN if gradient_free else model), method)
        found = [next(iter(explainer.explain_framed(first.pixels, [wanted]))) for wanted in first.classes]
        side_by_side(folder / f"{method}.png", found, title=f"cat left, coffee right: {explainer.spec.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="the Keras model, from scripts/export_model.py")
    parser.add_argument("--figures", type=Path)
    args = parser.parse_args()
    print("| method | pointing | energy | deletion | insertion | Spearman with Grad-CAM |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, found in report(args.model):
        print(
            f"| {name} | {found.pointing:.2f} | {found.energy:.2f} | {found.deletion:.2f} "
            f"| {found.insertion:.2f} | {found.like_gradcam:.2f} |",
            flush=True,
        )
    print(f"\nGrad-CAM before and after shuffling the weights: {sanity(args.model, list(scenes())):.2f}")
    if args.figures:
        figures(args.model, args.figures)


if __name__ == "__main__":
    main()
