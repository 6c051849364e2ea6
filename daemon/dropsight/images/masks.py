"""What is painted over in a camera's pictures."""

from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.bounded import read_bounded
from dropsight.errors import ConfigError, DropsightError, reason
from dropsight.images.framing import Pixels
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds

MASK_BYTES = 64 * 2**20
# Of 255: of a brush with soft edges, or half transparent, all that it touched counts.
_PAINTED = 32
# Nobody paints more finely than this, and the process that reads clips has to be told of it.
_LONGEST = 320
KEPT_PIXELS = 2**22
_Parts: TypeAlias = tuple[NDArray[np.bool_], NDArray[np.uint8]]


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
        """Return a copy whose painted places have the mean colour of the others, which has few edges."""
        painted, others = _stretched(self, *pixels.shape[:2])
        covered = pixels.copy()
        covered[painted] = np.rint(cv2.mean(pixels, mask=others)[:3])
        return covered

    def at(self, width: int, height: int) -> NDArray[np.bool_]:
        """Return which pixels of a picture of this size are painted over."""
        return _stretched(self, height, width)[0]

    def packed(self) -> PackedMask:
        height, width = self.painted.shape
        return PackedMask(height, width, np.packbits(self.painted).tobytes())

    @classmethod
    def unpacked(cls, packed: PackedMask) -> "Mask":
        count = packed.height * packed.width
        bits = np.unpackbits(np.frombuffer(packed.bits, np.uint8), count=count)
        return cls(bits.reshape(packed.height, packed.width).astype(np.bool_))


def _stretched(mask: Mask, height: int, width: int) -> _Parts:
    """Return which pixels are painted, and, as OpenCV takes them, which are not."""
    stretch = kept if height * width <= KEPT_PIXELS else kept.__wrapped__
    return stretch(mask, height, width)


@lru_cache(maxsize=8)  # a camera's pictures have one size
def kept(mask: Mask, height: int, width: int) -> _Parts:
    """As `_stretched`, for pictures that are not large: an uploader may send some of any size."""
    cells = mask.painted.astype(np.uint8)
    painted = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    return painted, (~painted).astype(np.uint8)


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
