"""Measure explanations on evidence: whole photos with a box about the object, and two photos side by side.

    scripts/explain_report.py KERAS_MODEL [--figures FOLDER]

Pointing game (the strongest place of the map lies in the object's box) and the share of the map's mass there
(Zhang et al. 2018); deletion and insertion (Petsiuk et al. 2018); agreement with Grad-CAM by rank
correlation; and the sanity check that maps of a model with shuffled weights are others (Adebayo et al. 2018).
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

import dropsight
from dropsight.explain.explaining import GRADIENT_FREE, METHODS, Explainer, Method
from dropsight.explain.figures import side_by_side
from dropsight.explain.heatmap import Heatmap
from dropsight.images.decoding import decode
from dropsight.images.framing import CROP_FRACTION, Pixels, crop_size, frame
from dropsight.images.header import read_header
from dropsight.models.backends import open_model

SAMPLES = Path(dropsight.__file__).parent / "samples"
BUILTIN = "builtin:efficientnet_lite0"
SIZE, TILE = 224, 112
GRAY = 127
STEPS = 28
FIGURES: tuple[Method, ...] = ("gradcam", "smoothgrad", "integrated", "occlusion", "rise")
SHUFFLED: tuple[Method, ...] = ("gradcam", "saliency", "smoothgrad")
# Of unlike things, each of which the model knows well by itself.
PAIRS = (
    ("chelsea", "coffee"),
    ("panda", "scarlet_macaw"),
    ("koala", "rocket"),
    ("polar_bear", "coffee"),
    ("lemur", "rocket"),
    ("chameleon", "chelsea"),
)


# About the object, drawn by hand: left, top, right, bottom, as shares of the photo. Of photos that it does
# not fill, since a map on one that it fills is right wherever it lies.
OBJECTS = {
    "china": (0.11, 0.06, 0.57, 0.94),
    "coffee": (0.28, 0.02, 0.72, 0.62),
    "flower": (0.26, 0.20, 0.71, 0.85),
    "koala": (0.12, 0.22, 0.84, 0.87),
    "polar_bear": (0.23, 0.32, 0.83, 0.77),
    "rocket": (0.46, 0.28, 0.55, 0.97),
    "scarlet_macaw": (0.22, 0.12, 0.92, 0.97),
}


class Box(NamedTuple):
    """Where the object of a class lies in a scene."""

    class_index: int
    rows: slice
    columns: slice


class Scene(NamedTuple):
    """A picture as the model takes it, and what there is in it."""

    pixels: Pixels
    boxes: tuple[Box, ...]


def scenes() -> Iterator[Scene]:
    """Two photos side by side on gray, the left one's box first."""
    known, margin = classes(), (SIZE - TILE) // 2
    rows = slice(margin, margin + TILE)
    for names in PAIRS:
        pixels = np.full((SIZE, SIZE, 3), GRAY, np.uint8)
        boxes = [
            Box(known[name], rows, slice(side * TILE, (side + 1) * TILE)) for side, name in enumerate(names)
        ]
        for name, box in zip(names, boxes, strict=True):
            pixels[box.rows, box.columns] = photo(name, TILE)
        yield Scene(pixels, tuple(boxes))


def single_scenes() -> Iterator[Scene]:
    """Whole photos as they are classified, with a box about the object."""
    known = classes()
    for name, (left, top, right, bottom) in OBJECTS.items():
        header = read_header((SAMPLES / f"{name}.jpg").read_bytes())
        width, height = header.upright
        side = min(crop_size(width, height, aspect=1, fraction=CROP_FRACTION))
        rows = _within(top * height, bottom * height, start=(height - side) / 2, size=side)
        columns = _within(left * width, right * width, start=(width - side) / 2, size=side)
        yield Scene(photo(name, SIZE), (Box(known[name], rows, columns),))


def _within(first: float, last: float, *, start: float, size: float) -> slice:
    """From pixels of the photo to those of its crop."""
    ends = (round((each - start) * SIZE / size) for each in (first, last))
    return slice(*(min(max(end, 0), SIZE) for end in ends))


def classes() -> dict[str, int]:
    """Return the class of each sample that has one."""
    with (SAMPLES / "expected.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["expected_id"]]
    return {Path(row["file"]).stem: int(row["expected_id"]) for row in rows}


def photo(name: str, size: int) -> Pixels:
    data = (SAMPLES / f"{name}.jpg").read_bytes()
    pixels = decode(data, read_header(data), at_least=(size, size), how="crop")
    return frame(pixels, height=size, width=size, how="crop")


@dataclass
class Evidence:
    """Means over all maps of a method; `chance` is what a map without any sense has for `energy`."""

    pointing: float
    energy: float
    chance: float
    deletion: float
    insertion: float
    like_gradcam: float


Reference: TypeAlias = dict[tuple[int, int], Heatmap]


def evidence(
    explainer: Explainer, found: Sequence[Scene], reference: Reference, *, steps: int = STEPS
) -> Evidence:
    """Measure one method; `reference` gains its maps, or is what they are compared with.

    The `steps` of deletion and insertion are most of the work for methods of few passes; 0 leaves them NaN.
    """
    rows: list[tuple[float, ...]] = []
    for number, scene in enumerate(found):
        wanted = [box.class_index for box in scene.boxes]
        for box, heatmap in zip(scene.boxes, explainer.heatmaps(scene.pixels, wanted), strict=True):
            inside = np.zeros((SIZE, SIZE), np.float32)
            inside[box.rows, box.columns] = 1
            share = float((heatmap * inside).sum() / max(float(heatmap.sum()), 1e-9))
            like = rank_correlation(heatmap, reference.setdefault((number, box.class_index), heatmap))
            means = (np.nan, np.nan)
            if steps:
                means = deletion_and_insertion(explainer, scene, heatmap, box.class_index, steps)
            rows.append((points_into(heatmap, inside), share, float(inside.mean()), *means, like))
    return Evidence(*(float(value) for value in np.mean(rows, axis=0)))


def points_into(heatmap: Heatmap, inside: NDArray[np.float32]) -> float:
    """1 where the strongest place is the object's. A place, not a pixel: 28x28 of them, as for the ranks."""
    places, box = (coarse(each) for each in (heatmap, inside))
    return float(box[np.unravel_index(int(places.argmax()), places.shape)] >= 0.5)


def coarse(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shrink to 28x28: neighbouring pixels say the same."""
    return cv2.resize(values, (28, 28), interpolation=cv2.INTER_AREA).astype(np.float32)


def rank_correlation(one: Heatmap, other: Heatmap) -> float:
    """Spearman's, of their coarse maps."""
    small = [coarse(each) for each in (one, other)]
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
    explainer: Explainer, scene: Scene, heatmap: Heatmap, class_index: int, steps: int
) -> tuple[float, float]:
    """The mean confidence while pixels go gray, most important first; and while they come back to a blur."""
    order = np.argsort(-heatmap.ravel(), kind="stable")
    blurred = cv2.GaussianBlur(scene.pixels, (0, 0), 12)
    means = []
    for start, end in ((scene.pixels, np.full_like(scene.pixels, GRAY)), (blurred, scene.pixels)):
        shown = []
        for step in range(steps + 1):
            picture = start.copy().reshape(-1, 3)
            gone = order[: len(order) * step // steps]
            picture[gone] = end.reshape(-1, 3)[gone]
            shown.append(picture.reshape(scene.pixels.shape))
        means.append(float(explainer.classify(np.stack(shown))[:, class_index].mean()))
    return means[0], means[1]


def sanity(trained: Explainer, found: Sequence[Scene]) -> float:
    """Return the mean rank correlation of a method's maps before and after the weights are shuffled."""
    shuffled = Explainer(trained.model, trained.method)
    shuffled.shuffle_weights(seed=1)
    values = []
    for scene in found:
        before, after = (
            each.heatmap(scene.pixels, scene.boxes[0].class_index) for each in (trained, shuffled)
        )
        values.append(rank_correlation(before, after))
    return float(np.mean(values))


def explainer_of(model: Path, method: Method) -> Explainer:
    """Gradient methods explain the Keras model, the others the built-in INT8 one as it runs."""
    return Explainer(open_model(BUILTIN if method in GRADIENT_FREE else model), method)


def print_table(model: Path, title: str, found: Sequence[Scene], methods: Sequence[Method]) -> None:
    print(f"\n{title}:\n")
    print("| method | pointing | energy | (chance) | deletion | insertion | Spearman with Grad-CAM |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    reference: Reference = {}
    for method in methods:
        explainer = explainer_of(model, method)
        e = evidence(explainer, found, reference)
        print(
            f"| {method} ({explainer.spec.name}) | {e.pointing:.2f} | {e.energy:.2f} | {e.chance:.2f} "
            f"| {e.deletion:.2f} | {e.insertion:.2f} | {e.like_gradcam:.2f} |",
            flush=True,
        )


def figures(model: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    first = next(scenes())
    wanted = [box.class_index for box in first.boxes]
    for method in FIGURES:
        explainer = explainer_of(model, method)
        found = explainer.explain_framed(first.pixels, wanted)
        side_by_side(folder / f"{method}.png", found, title=f"cat left, coffee right: {explainer.spec.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="the Keras model, from scripts/build_models.py")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--figures", type=Path)
    args = parser.parse_args()
    print_table(args.model, "Whole photos", list(single_scenes()), args.methods)
    print_table(args.model, "Two photos side by side", list(scenes()), args.methods)
    print("\nMaps before and after shuffling the weights:", flush=True)
    for method in args.methods:
        if method in SHUFFLED:
            print(f"{method}: {sanity(explainer_of(args.model, method), list(scenes())):.2f}", flush=True)
    if args.figures:
        figures(args.model, args.figures)


if __name__ == "__main__":
    main()
