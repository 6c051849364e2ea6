"""Pictures that a camera takes: visits of what a labelled photo shows, its empty scene, and garbage."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight.images.framing import Pixels

HEIGHT, WIDTH = 240, 320
Chance = np.random.Generator
_MIDDLE = (WIDTH / 2, HEIGHT / 2)


@dataclass(frozen=True, slots=True)
class Photo:
    """A labelled one; `thing` is what people call it, `known` whether the model is sure of it as it is."""

    pixels: Pixels = field(repr=False)
    thing: str
    known: bool = True


@dataclass(frozen=True, slots=True)
class Picture:
    """What a camera takes `at`, in seconds; `visit` is the number of the one that it is of, of a `thing`.

    `known` as of its photo.
    """

    at: float
    kind: str
    pixels: Pixels = field(repr=False)
    visit: int | None = None
    thing: str = ""
    known: bool = False


def read_photo(path: str) -> Pixels:
    """Read its middle, of a camera's size."""
    read = cv2.imread(path)
    if read is None:
        raise SystemExit(f"{path}: no picture")
    height, width = read.shape[:2]
    scale = max(HEIGHT / height, WIDTH / width)
    small = cv2.resize(read, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    top, left = (small.shape[0] - HEIGHT) // 2, (small.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(small[top : top + HEIGHT, left : left + WIDTH, ::-1])


def view(chance: Chance, photo: Pixels, scene: Pixels, *, leaving: bool) -> Pixels:
    """Show it nearer or farther, aside, mirrored, in other light, in its own surroundings.

    If `leaving`, partly out of the picture, and the scene beside it.
    """
    turn = cv2.getRotationMatrix2D(_MIDDLE, float(chance.normal(0, 3)), float(chance.uniform(0.65, 1.1)))
    aside = chance.choice((-1, 1)) * chance.uniform(0.3, 0.6) if leaving else chance.uniform(-0.12, 0.12)
    turn[0, 2] += aside * WIDTH
    turn[1, 2] += chance.uniform(-0.1, 0.1) * HEIGHT
    shown = photo[:, ::-1] if chance.random() < 0.5 else photo
    border = cv2.BORDER_TRANSPARENT if leaving else cv2.BORDER_REFLECT_101
    made = cv2.warpAffine(
        np.ascontiguousarray(shown), turn, (WIDTH, HEIGHT), dst=scene.copy(), borderMode=border
    )
    return _lit(chance, made)


def drawn_scene(chance: Chance) -> Pixels:
    """Sky or a wall, and ground, with a texture and a few posts."""
    made = np.empty((HEIGHT, WIDTH, 3))
    horizon = int(chance.integers(HEIGHT // 4, HEIGHT * 2 // 3))
    made[:horizon], made[horizon:] = chance.integers(90, 256, 3), chance.integers(30, 170, 3)
    for size, depth in ((8, 20), (40, 15)):
        rough = chance.normal(0, depth, (HEIGHT // size + 1, WIDTH // size + 1, 3)).astype(np.float32)
        made[horizon:] += cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)[horizon:]
    for left in chance.integers(0, WIDTH - 12, chance.integers(0, 5)):
        made[horizon // 2 : horizon + 40, left : left + chance.integers(3, 12)] = chance.integers(20, 120, 3)
    return _picture(made)


def light(chance: Chance, scene: Pixels, _: Pixels) -> Pixels:
    """The empty scene, as a cloud passes."""
    course = np.linspace(chance.uniform(0.5, 1.3), chance.uniform(0.5, 1.3), WIDTH)
    return _lit(chance, _picture(scene * course[np.newaxis, :, np.newaxis]))


def leaves(chance: Chance, scene: Pixels, _: Pixels) -> Pixels:
    """The empty scene, with leaves and branches that move before it."""
    made = scene.copy()
    green = chance.integers((10, 40, 10), (90, 150, 60))
    for _leaf in range(chance.integers(15, 60)):
        middle = (int(chance.integers(WIDTH)), int(chance.integers(HEIGHT)))
        axes = (int(chance.integers(5, 35)), int(chance.integers(2, 10)))
        colour = tuple(int(each) for each in np.clip(green + chance.integers(-20, 21, 3), 0, 255))
        cv2.ellipse(made, middle, axes, float(chance.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    return _lit(chance, made)


def night(chance: Chance, scene: Pixels, _: Pixels) -> Pixels:
    """Too dark for anything but the sensor's noise."""
    dark = scene * np.float32(chance.uniform(0.005, 0.04)) + np.float32(6)
    return _grainy(chance, dark, chance.uniform(1, 8))


def flat(chance: Chance, scene: Pixels, _: Pixels) -> Pixels:
    """Fog, or something before the lens."""
    colour, veil = chance.integers(0, 256, 3).astype(np.float32), np.float32(chance.uniform(0.9, 1.0))
    return _grainy(chance, scene * (1 - veil) + colour * veil, 3)


def blur(chance: Chance, scene: Pixels, photo: Pixels) -> Pixels:
    """Of anything, far out of focus."""
    shown = photo if chance.random() < 0.5 else scene
    return _lit(chance, cv2.GaussianBlur(shown, (0, 0), float(chance.uniform(12, 40))))


EMPTY: tuple[Callable[[Chance, Pixels, Pixels], Pixels], ...] = (light, leaves, night, flat, blur)
"""What a camera takes while nothing is there, of its scene and any photo."""
WRONG = "wrong"


def a_day(
    chance: Chance, visits: list[Photo], others: list[Photo], scene: Pixels, *, empty: int, wrong: int
) -> Iterator[Picture]:
    """Yield a camera's day, unordered: visits of these photos, `empty` pictures in runs, single wrong ones.

    A wrong one shows what is not there, once; one in ten pictures of a visit is such a one, too. `visit`
    counts from 0.
    """
    for number, photo in enumerate(visits):
        yield from _visit(chance, number, photo, others, scene)
    left = empty
    while left > 0:
        length = min(int(chance.integers(1, 16)), left)
        left -= length
        yield from _run(chance, length, others, scene)
    for _ in range(wrong):
        yield _wrong(chance, chance.uniform(0, 86_400), others, scene)


def _visit(
    chance: Chance, number: int, photo: Photo, others: list[Photo], scene: Pixels
) -> Iterator[Picture]:
    """Three to ten pictures, some seconds apart; the first or the last are of something half out of it."""
    at, count = chance.uniform(0, 86_000), int(chance.integers(3, 11))
    for place in range(count):
        at += chance.uniform(1, 8)
        leaving = place in {0, count - 1} and chance.random() < 0.5
        if chance.random() < 0.1:
            yield _wrong(chance, at, others, scene, visit=number)
        else:
            pixels = view(chance, photo.pixels, scene, leaving=leaving)
            yield Picture(at, "visit", pixels, number, photo.thing, photo.known)


def _run(chance: Chance, length: int, others: list[Photo], scene: Pixels) -> Iterator[Picture]:
    """Wind, clouds, fog and darkness last."""
    at, kind = chance.uniform(0, 86_000), EMPTY[chance.integers(len(EMPTY))]
    photo = _one_of(chance, others).pixels
    for _ in range(length):
        at += chance.uniform(3, 40)
        yield Picture(at, kind.__name__, kind(chance, scene, photo))


def _wrong(
    chance: Chance, at: float, others: list[Photo], scene: Pixels, *, visit: int | None = None
) -> Picture:
    pixels = view(chance, _one_of(chance, others).pixels, scene, leaving=False)
    return Picture(at, WRONG, pixels, visit)


def _one_of(chance: Chance, photos: list[Photo]) -> Photo:
    return photos[chance.integers(len(photos))]


def _lit(chance: Chance, made: NDArray[np.generic]) -> Pixels:
    return _grainy(
        chance, made.astype(np.float32) * np.float32(chance.uniform(0.6, 1.25)), chance.uniform(0, 10)
    )


def _grainy(chance: Chance, made: NDArray[np.float32], depth: float) -> Pixels:
    return _picture(made + chance.standard_normal(made.shape, np.float32) * np.float32(depth))


def _picture(made: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(made, 0, 255), np.uint8)
