"""Measure how often each way of making one answer of many frames is right, on clips made of labelled photos.

    python scripts/clip_answers.py                  # all sample photos: a minute or two
    python scripts/clip_answers.py --photos 4       # the first four

Clips are made by this script, as cameras make them: pans, zooms, noise, a dark beginning, an object that
shows for a moment before an empty scene, one odd frame, cuts from one object to the next. Each is encoded,
decoded and classified once, by the built-in model; then its frames' answers are merged in every way.
"""

import argparse
import csv
import itertools
import sys
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias, get_args

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from clips import Picture, make_clip, of_photos  # noqa: E402
from daemons import SAMPLES  # noqa: E402
from dropsight import VideoInferenceRuntime  # noqa: E402
from dropsight.inference.aggregating import aggregate  # noqa: E402
from dropsight.inference.clips import ClipAnswer  # noqa: E402
from dropsight.records import Aggregate  # noqa: E402

RATE = 4
HEIGHT, WIDTH = 288, 384
WAYS: tuple[Aggregate, ...] = get_args(Aggregate)
TOP_K = (1, 2, 3, 5, 8)
Classes: TypeAlias = frozenset[int]


class Photo(NamedTuple):
    """`larger` is a quarter wider and higher than a frame; `classes` are all right answers."""

    name: str
    larger: Picture
    classes: Classes


class Clip(NamedTuple):
    """`shows` are the things to be found, each with its right answers."""

    scene: str
    pictures: list[Picture]
    shows: tuple[Classes, ...]


class Rating(NamedTuple):
    """Of one scene's clips: how often the best answer is one of what shows, and the share of it all found."""

    clips: int
    top_1: float
    found: float


def photos() -> list[Photo]:
    """Return the labelled sample photos; the built-in model knows a class for each."""
    with (SAMPLES / "expected.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["expected_id"]]
    larger = of_photos([SAMPLES / row["file"] for row in rows], height=HEIGHT * 5 // 4, width=WIDTH * 5 // 4)
    return [
        Photo(row["file"], picture, frozenset(map(int, row["accepted_ids"].split("|"))))
        for row, picture in zip(rows, larger, strict=True)
    ]


def window(photo: Photo, *, x: float = 0.5, y: float = 0.5, zoom: float = 1.0) -> Picture:
    """Return a frame's part of a photo: where, as shares of the room to move; a zoom below 1 shows less."""
    height, width = (int(side * zoom) for side in (HEIGHT, WIDTH))
    top = int((photo.larger.shape[0] - height) * y)
    left = int((photo.larger.shape[1] - width) * x)
    cut = photo.larger[top : top + height, left : left + width]
    return np.asarray(cv2.resize(cut, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def steady(photo: Photo, seconds: float) -> list[Picture]:
    return [window(photo)] * round(seconds * RATE)


def noisy(pictures: Sequence[Picture], sigma: float, *, seed: int = 7) -> list[Picture]:
    """Darken a little, so that noise is not cut off, and add another part of one noise to each."""
    noise = np.random.default_rng(seed).normal(0, sigma, (HEIGHT, WIDTH, 3)).astype(np.float32)
    return [
        np.clip(each * np.float32(0.92) + np.roll(noise, 7919 * number), 0, 255).astype(np.uint8)
        for number, each in enumerate(pictures)
    ]


def empty(photo: Photo, seconds: float) -> list[Picture]:
    """A scene of another photo's colors that shows no thing."""
    blurred = cv2.GaussianBlur(window(photo), (0, 0), WIDTH / 12)
    return [np.asarray(blurred, np.uint8)] * round(seconds * RATE)


def scenes(photo: Photo, other: Photo, third: Photo, building: Photo) -> Iterator[Clip]:
    """Each scene with this photo's thing in it; the others show something else."""
    own, moves = (photo.classes,), [place / (8 * RATE - 1) for place in range(8 * RATE)]
    yield Clip("steady", noisy(steady(photo, 8), 3), own)
    yield Clip("pan", noisy([window(photo, x=at) for at in moves], 3), own)
    yield Clip("zoom", noisy([window(photo, zoom=1.25 - 0.65 * at) for at in moves], 3), own)
    yield Clip("noise", noisy(steady(photo, 8), 30), own)
    dark = [(each * 0.06).astype(np.uint8) for each in steady(photo, 5)]
    yield Clip("dark for 5 s of 8", noisy([*dark, *steady(photo, 3)], 3), own)
    for seconds in (3, 2, 1):
        short = [*empty(other, 6.25), *steady(photo, seconds), *empty(other, 8.75 - seconds)]
        yield Clip(f"{seconds} s of 15, else blurred", noisy(short, 3), own)
    before = [*steady(building, 6.25), *steady(photo, 2), *steady(building, 6.75)]
    yield Clip("2 s of 15, before a building", noisy(before, 3), own)
    odd = [*steady(photo, 6), *steady(other, 0.25), *steady(photo, 8.75)]
    yield Clip("one odd frame", noisy(odd, 3), own)
    cuts = [*steady(photo, 5), *steady(other, 5), *steady(third, 5)]
    yield Clip("cuts, 3 things for 5 s", noisy(cuts, 3), (photo.classes, other.classes, third.classes))


def answered(
    chosen: Sequence[Photo], runtime: VideoInferenceRuntime, folder: Path, *, wanted: Container[str] = ()
) -> Iterator[tuple[Clip, ClipAnswer]]:
    """Yield each scene of each photo, or those `wanted`, and what the model says of its frames."""
    path, building = folder / "clip.mp4", next(each for each in photos() if each.name == "china.jpg")
    things = [photo for photo in chosen if photo.name != building.name]
    for number, photo in enumerate(things):
        for clip in scenes(photo, things[number - 1], things[number - 2], building):
            if not wanted or clip.scene in wanted:
                yield clip, runtime.answer(make_clip(path, clip.pictures, rate=RATE, gop=2 * RATE))


def rated(answers: Sequence[tuple[Clip, ClipAnswer]], how: Aggregate, top_k: int = 3) -> dict[str, Rating]:
    """Return each scene's rating, in the order of the scenes."""
    found: dict[str, list[tuple[bool, float]]] = {}
    for clip, answer in answers:
        merged = aggregate(np.array(answer.times), answer.rows, how, top_k_frames=top_k)
        best = [int(number) for number in np.argsort(-merged, kind="stable")[:5]]
        right = any(best[0] in classes for classes in clip.shows)
        share = sum(bool(classes & set(best)) for classes in clip.shows) / len(clip.shows)
        found.setdefault(clip.scene, []).append((right, share))
    return {
        scene: Rating(len(each), *(float(np.mean(column)) for column in zip(*each, strict=True)))
        for scene, each in found.items()
    }


def table(ratings: Mapping[str, Mapping[str, Rating]], figure: Callable[[Rating], float]) -> Iterator[str]:
    """Yield the lines of a table: a row a scene, a column a way."""
    yield f"| scene | {' | '.join(ratings)} |"
    yield f"| --- |{' --- |' * len(ratings)}"
    for scene in next(iter(ratings.values())):
        yield f"| {scene} | {' | '.join(f'{figure(each[scene]):.2f}' for each in ratings.values())} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="How often each aggregate is right.")
    parser.add_argument("--photos", type=int, help="so many, at least three; default: all")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, VideoInferenceRuntime() as runtime:
        answers = list(answered(photos()[: given.photos], runtime, Path(folder)))
    ways = {f"`{how}`": rated(answers, how) for how in WAYS}
    counts = {f"{top_k} frames": rated(answers, "top_k_mean", top_k) for top_k in TOP_K}
    clips = next(iter(ways["`mean`"].values())).clips
    parts = (
        [f"Top-1, {clips} clips a scene:", ""],
        table(ways, lambda rating: rating.top_1),
        ["", "Share of the things that show among the best five:", ""],
        table(ways, lambda rating: rating.found),
        ["", "Top-1 of `top_k_mean` by `top_k_frames`:", ""],
        table(counts, lambda rating: rating.top_1),
    )
    print(*itertools.chain.from_iterable(parts), sep="\n")


if __name__ == "__main__":
    main()
