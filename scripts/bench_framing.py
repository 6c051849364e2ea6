"""Measure how often each way of framing finds what is at the edge, or in the middle, of a wide scene.

    python scripts/bench_framing.py                     # the sample photos: half a minute
    python scripts/bench_framing.py --photos LABELLED   # a folder with a sub-folder of photos for each class
    python scripts/bench_framing.py --cost              # what parts of a picture cost, in milliseconds

Scenes are made by this script: 1920 x 1080, of another photo that is out of focus, with the central square of
a labelled photo in them. `crops` is a camera's crop around the place where it is, as somebody who knows where
animals pass would draw it: a fifth wider than it. Found is what is the best answer, or one of the five best.
"""

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import cv2
import numpy as np
from msgspec.structs import replace

import dropsight
from dropsight import ImageInferenceRuntime
from dropsight.images.framing import Pixels, resize
from dropsight.images.sights import Sight
from dropsight.inference import pipeline
from dropsight.inference.labelled import labelled
from dropsight.inference.pipeline import Answer
from dropsight.inference.planning import Plan
from dropsight.inference.preparing import Preparation
from dropsight.records import Box, Framing, Resize

SAMPLES = Path(dropsight.__file__).parent / "samples"
WIDTH, HEIGHT = 1920, 1080
MARGIN = 0.1
PLACES = {"left edge": 0.0, "middle": 0.5, "right edge": 1.0}
SIZES = (1.0, 0.7, 0.4)
"""Of the scene's height."""
ROUNDS = 30


class Photo(NamedTuple):
    """`classes` are all right answers."""

    path: Path
    classes: frozenset[int]


class Scene(NamedTuple):
    """A JPEG as a camera makes it, and where in it the photo is."""

    jpeg: bytes
    box: Box


def samples() -> list[Photo]:
    with (SAMPLES / "expected.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["accepted_ids"]]
    return [Photo(SAMPLES / row["file"], frozenset(map(int, row["accepted_ids"].split("|")))) for row in rows]


def square_of(path: Path) -> Pixels:
    picture = np.asarray(cv2.imread(str(path)), np.uint8)
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return picture[top : top + side, left : left + side]


def backdrop(path: Path) -> Pixels:
    """A photo out of focus: colours and light of a real scene, and nothing in it to be named."""
    picture = np.asarray(cv2.imread(str(path)), np.uint8)
    small = resize(picture, height=18, width=32)
    return np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)


def scene(photo: Path, behind: Path, *, size: float, across: float) -> Scene:
    side = round(HEIGHT * size)
    left, top = round((WIDTH - side) * across), (HEIGHT - side) // 2
    made = backdrop(behind)
    how = cv2.INTER_CUBIC if side > min(square_of(photo).shape[:2]) else cv2.INTER_AREA
    made[top : top + side, left : left + side] = cv2.resize(square_of(photo), (side, side), interpolation=how)
    encoded = cv2.imencode(".jpg", made, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    return Scene(encoded, _around(left, top, side))


def _around(left: int, top: int, side: int) -> Box:
    spare = round(side * MARGIN)
    first, last = max(left - spare, 0), min(left + side + spare, WIDTH)
    upper, lower = max(top - spare, 0), min(top + side + spare, HEIGHT)
    return first / WIDTH, upper / HEIGHT, last / WIDTH, lower / HEIGHT


def plans(runtime: ImageInferenceRuntime, box: Box) -> Iterator[tuple[str, Plan]]:
    for how in get_args(Resize):
        yield how, framed(runtime, how)
    yield "crops", replace(framed(runtime, "crop"), sight=Sight({"here": box}))


def framed(runtime: ImageInferenceRuntime, how: Resize) -> Plan:
    spec = replace(runtime.spec, framing=Framing(how))
    return replace(runtime.plan, spec=spec, preparation=Preparation(spec))


def answered(runtime: ImageInferenceRuntime, jpeg: bytes, plan: Plan) -> tuple[Answer, int]:
    prepared = pipeline.prepare(jpeg, pipeline.examine(jpeg, plan), plan)
    with runtime.interpreter() as model:
        return pipeline.predict(model, prepared, plan), len(prepared.batch)


def measure(runtime: ImageInferenceRuntime, photos: Sequence[Photo]) -> None:
    print(f"{len(photos)} photos; found as the best answer (as one of the five best), %")
    for size in SIZES:
        print(
            f"\n{'size ' + format(size, 'g'):<12}"
            + "".join(f"{place:>16}" for place in PLACES)
            + f"{'invokes':>10}"
        )
        found: dict[str, dict[str, list[tuple[bool, bool]]]] = {}
        invokes: dict[str, int] = {}
        for place, across in PLACES.items():
            for number, photo in enumerate(photos):
                made = scene(photo.path, photos[(number + 7) % len(photos)].path, size=size, across=across)
                for way, plan in plans(runtime, made.box):
                    answer, invokes[way] = answered(runtime, made.jpeg, plan)
                    ranked = [each.class_index for each in answer.predictions]
                    right = ranked[0] in photo.classes, bool(photo.classes.intersection(ranked))
                    found.setdefault(way, {}).setdefault(place, []).append(right)
        for way, by_place in found.items():
            cells = (f"{_share(rows, 0):.1f} ({_share(rows, 1):.1f})" for rows in by_place.values())
            print(f"{way:<12}" + "".join(f"{cell:>16}" for cell in cells) + f"{invokes[way]:>10}", flush=True)


def _share(rows: Sequence[tuple[bool, bool]], which: int) -> float:
    return 100 * statistics.fmean(row[which] for row in rows)


def cost(runtime: ImageInferenceRuntime) -> None:
    """Print medians of what each number of crops takes of a 12-megapixel JPEG, decoded once."""
    picture = cv2.resize(
        square_of(SAMPLES / "scarlet_macaw.jpg"), (4056, 3040), interpolation=cv2.INTER_CUBIC
    )
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    halves: dict[str, Box] = {"left": (0.0, 0.0, 0.5, 0.66), "right": (0.5, 0.0, 1.0, 0.66)}
    cases = {
        "whole, crop": framed(runtime, "crop"),
        "whole, cover": framed(runtime, "cover"),
        "one crop": replace(framed(runtime, "crop"), sight=Sight({"left": halves["left"]})),
        "two crops": replace(framed(runtime, "crop"), sight=Sight(halves)),
    }
    print(f"4056 x 3040 JPEG, ms (medians of {ROUNDS}){'decode':>12}{'prepare':>10}{'invoke':>10}")
    for name, plan in cases.items():
        rows = []
        for _ in range(ROUNDS):
            prepared = pipeline.prepare(jpeg, pipeline.examine(jpeg, plan), plan)
            with runtime.interpreter() as model:
                began = time.perf_counter()
                pipeline.predict(model, prepared, plan)
                rows.append((prepared.decode_ms, prepared.preprocess_ms, (time.perf_counter() - began) * 1e3))
        decode, prepare, invoke = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:<39}{decode:>12.1f}{prepare:>10.1f}{invoke:>10.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, help="labelled photos; default: the sample photos")
    parser.add_argument("--most", type=int, default=1000, help="how many of them at most")
    parser.add_argument("--cost", action="store_true", help="measure milliseconds instead")
    given = parser.parse_args()
    with ImageInferenceRuntime(threads=1) as runtime:
        if given.cost:
            cost(runtime)
            return 0
        photos = samples()
        if given.photos:
            found = labelled(given.photos, runtime.spec.labels, frozenset({".jpg", ".jpeg", ".png"}))
            photos = [Photo(Path(each.path), frozenset({each.class_index})) for each in found]
            photos = photos[:: max(len(photos) // given.most, 1)][: given.most]
        measure(runtime, photos)
    return 0


if __name__ == "__main__":
    sys.exit(main())
