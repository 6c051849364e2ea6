"""Random square crops of photos: what full integer quantization takes its ranges from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import dropsight
from dropsight.config import Watch
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels, resize
from dropsight.images.header import read_header
from dropsight.intake.folder import DropFolder

SAMPLES = Path(dropsight.__file__).parent / "samples"


def photos_in(folder: Path) -> list[Pixels]:
    """Decode every photo of a folder and those below it, full size."""
    datas = [Path(path).read_bytes() for path in sorted(DropFolder.open(Watch(path=folder)).images())]
    return [decode(data, read_header(data), at_least=(10_000, 10_000), how="stretch") for data in datas]


def random_crops(pictures: Sequence[Pixels], *, size: int, count: int = 144) -> list[Pixels]:
    """Return `count` squares of `size` pixels, from 0.4 of a picture's shorter side to all of it."""
    chance = np.random.default_rng(0)
    return [_crop(pictures[number % len(pictures)], size, chance) for number in range(count)]


def _crop(picture: Pixels, size: int, chance: np.random.Generator) -> Pixels:
    height, width = picture.shape[:2]
    side = int(min(height, width) * chance.uniform(0.4, 1.0))
    top, left = chance.integers(height - side + 1), chance.integers(width - side + 1)
    return resize(picture[top : top + side, left : left + side], height=size, width=size)
