"""What is painted over in a camera's pictures."""

import itertools
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.bounded import read_bounded
from dropsight.errors import ConfigError, DropsightError, reason
from dropsight.images.framing import Pixels, Place
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds

MASK_BYTES = 64 * 2**20
# Of 255: of a brush with soft edges, or half transparent, all that it touched counts.
_PAINTED = 32
# Nobody paints more finely than this, and the process that reads clips has to be told of it.
_LONGEST = 320
KEPT_PIXELS = 2**22
# What is looked at at once; a painted pixel takes 16 bytes then.
_PIECE_PIXELS = 2**18
_ALL: Place = slice(None), slice(None)
Painted: TypeAlias = NDArray[np.bool_]


class PackedMask(msgspec.Struct, frozen=True):
    """A mask for another process: a bit a cell, row by row."""

    height: int
    width: int
    bits: bytes


class Mask:
    """Where a camera's pictures are painted over, stretched to whatever size they have. Thread-safe."""

    def __init__(self, painted: NDArray[np.bool_]) -> None:
        self.painted = painted

    def over(self, pixels: Pixels) -> Pixels:
        """Return a copy whose painted places have the mean colour of the others, which has few edges.

        Piece by piece: done whole, it takes seven times the memory of the picture.
        """
        total, count = np.zeros(3), 0
        for place, painted in self._pieces(*pixels.shape[:2]):
            others = int(painted.size - np.count_nonzero(painted))
            total += np.multiply(cv2.mean(pixels[place], mask=(~painted).view(np.uint8))[:3], others)
            count += others
        covered, paint = pixels.copy(), np.empty((0, 0, 3), np.uint8)
        for place, painted in self._pieces(*pixels.shape[:2]):
            if paint.shape[:2] != painted.shape:
                paint = np.full((*painted.shape, 3), np.rint(total / max(count, 1)), np.uint8)
            cv2.copyTo(paint, painted.view(np.uint8), covered[place])
        return covered

    def at(self, width: int, height: int) -> Painted:
        """Return which pixels of a picture of this size are painted over."""
        return stretched(self, height, width)

    def _pieces(self, height: int, width: int) -> Iterator[tuple[Place, Painted]]:
        """Yield the places that make up a picture, and what of each is painted over."""
        whole = kept(self, height, width) if height * width <= KEPT_PIXELS else None
        across = min(width, _PIECE_PIXELS)
        down = max(_PIECE_PIXELS // across, 1)
        for top, left in itertools.product(range(0, height, down), range(0, width, across)):
            place = slice(top, min(top + down, height)), slice(left, min(left + across, width))
            yield place, stretched(self, height, width, place) if whole is None else whole[place]

    def packed(self) -> PackedMask:
        height, width = self.painted.shape
        return PackedMask(height, width, np.packbits(self.painted).tobytes())

    @classmethod
    def unpacked(cls, packed: PackedMask) -> "Mask":
        count = packed.height * packed.width
        bits = np.unpackbits(np.frombuffer(packed.bits, np.uint8), count=count)
        return cls(bits.reshape(packed.height, packed.width).astype(np.bool_))


def stretched(mask: Mask, height: int, width: int, place: Place = _ALL) -> Painted:
    """Return which pixels of a picture of this size are painted over, in a place of it."""
    rows, columns = (
        np.arange(*part.indices(size)) * cells // size
        for size, part, cells in zip((height, width), place, mask.painted.shape, strict=True)
    )
    return mask.painted[np.ix_(rows, columns)]


@lru_cache(maxsize=8)  # a camera's pictures have one size
def kept(mask: Mask, height: int, width: int) -> Painted:
    """As `stretched`, for pictures that are not large: an uploader may send some of any size."""
    return stretched(mask, height, width)


def read_mask(path: Path) -> Mask:
    """Return what is painted in a picture: what is not transparent or, without transparency, not black."""
    try:
        data = read_bounded(path, MASK_BYTES)
        check_bounds(read_header(data), Bounds())
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except OSError as error:
        raise ConfigError([f"{path} cannot be read: {reason(error)}"]) from error
    except (DropsightError, cv2.error) as error:
        raise ConfigError([f"{path} is not a readable picture: {error}"]) from error
    if decoded is None or decoded.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        raise ConfigError([f"{path} is not a readable picture; give a PNG"])
    painted = _reduced(_levels(decoded) >= _PAINTED)
    way_out = "paint what the model is not to see on a transparent or a black picture"
    if painted.all():
        raise ConfigError([f"{path} covers the whole picture, so nothing would be seen; {way_out}"])
    if not painted.any():
        raise ConfigError([f"{path} covers nothing; {way_out}"])
    return Mask(painted)


def _levels(decoded: cv2.typing.MatLike) -> cv2.typing.MatLike:
    """Return (height, width), 0 to 255: how far each pixel is painted."""
    if decoded.dtype == np.uint16:
        decoded = decoded // 257
    if decoded.ndim == 2:
        return decoded
    transparent = decoded.shape[2] == 4 and bool((decoded[:, :, 3] < _PAINTED).any())
    levels: cv2.typing.MatLike = decoded[:, :, 3] if transparent else decoded[:, :, :3].max(axis=2)
    return levels


def _reduced(painted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    height, width = painted.shape
    scale = min(_LONGEST / max(height, width), 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    shares = cv2.resize(painted.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(shares >= 0.5)
