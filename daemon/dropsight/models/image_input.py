"""How a model takes an image: its size, its channels and their order, told from the shape of its input."""

import math
from pathlib import Path
from typing import get_args

import msgspec
from msgspec.structs import replace

from dropsight.errors import ModelError
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import read_sidecar, sidecar_path
from dropsight.models.spec import TensorSpec
from dropsight.records import Layout

MOST_PIXELS = 4096 * 4096
"""Of a model's input: so many numbers are made of each image, whatever its size."""

DEFAULT_SIZE = (224, 224)
"""Of a model that fixes none: what most classifiers were trained on."""

# Smaller squares are rows of measurements rather than pictures.
_LEAST_SIDE = 8
# 210 x 210 numbers are, more likely, a second of sound.
_SECOND_OF_SOUND = 44_100
_Size = tuple[int, ...]  # height, width


class ImageInput(msgspec.Struct, frozen=True):
    """`tensor` has a size and a place for channels, as `layout` says; `taken` is the model's own shape.

    They differ where the model takes its pixels flattened, or gray ones without channels.
    """

    tensor: TensorSpec
    taken: tuple[int, ...]
    layout: Layout
    layout_from: str
    size_from: str


class _Wishes(msgspec.Struct, frozen=True):
    """What config and sidecar say of the input, each with where."""

    size: _Size | None
    size_from: str
    layout: Layout | None
    layout_from: str


def image_input(
    path: Path, said: ModelOverrides, tensor: TensorSpec, own_size: tuple[int, int] | None = None
) -> ImageInput:
    """Raise ModelError for what takes no images; `own_size` is what the metadata says for an open one."""
    wishes = _wishes(path, said)
    if own_size and wishes.size is None and -1 in tensor.shape[1:]:
        wishes = replace(wishes, size=own_size, size_from="metadata")
    found = None
    if tensor.dtype.kind in "fiu":
        match len(tensor.shape):
            case 4:
                found = _of_images(path, tensor, wishes)
            case 3 | 2 if tensor.dtype.kind == "f" or tensor.dtype.itemsize == 1:
                found = _of_rows(path, tensor, wishes)
            case _:
                pass
    if found and math.prod(_sides(found)) > MOST_PIXELS:
        raise ModelError(
            f"{path}: its pictures would have {_by(_sides(found))} pixels, more than {MOST_PIXELS:,} in all"
        )
    if found is None:
        raise ModelError(
            f"{path}: not an image classifier: its input is {list(tensor.shape)}, not [batch, height, width, "
            f"1 or 3 channels] nor [batch, 1 or 3 channels, height, width]{_likeness(tensor)}"
        )
    return found


def _sides(found: ImageInput) -> _Size:
    return tuple(found.tensor.shape[found.layout.index(side)] for side in "HW")


def _wishes(path: Path, said: ModelOverrides) -> _Wishes:
    sidecar, beside = read_sidecar(path), str(sidecar_path(path))
    size, size_from = said.input_size, "config"
    if size is None and sidecar and sidecar.input_size:
        size, size_from = sidecar.input_size, beside
    layout, layout_from = said.layout, "config"
    if layout is None and sidecar and sidecar.layout:
        layout, layout_from = sidecar.layout, beside
    return _Wishes(size, size_from, layout, layout_from)


def _of_images(path: Path, tensor: TensorSpec, wishes: _Wishes) -> ImageInput | None:
    layouts: tuple[Layout, ...] = get_args(Layout)
    possible = [layout for layout in layouts if tensor.shape[layout.index("C")] in {1, 3}]
    if not possible or 0 in tensor.shape:
        return None
    layout, layout_from = possible[0], "shape"
    if wishes.layout:
        layout, layout_from = wishes.layout, wishes.layout_from
        if layout not in possible:
            raise ModelError(
                f"{layout_from}: layout {layout}: not with an input of {list(tensor.shape)}; "
                f"it is {possible[0]}"
            )
    sides = [tensor.shape[layout.index(side)] for side in "HW"]
    if sides == [1, 1]:  # files from before 2020 cannot say that it is open
        sides = [-1, -1]
    size, size_from = _size(path, wishes, sides)
    shape = list(tensor.shape)
    shape[layout.index("H")], shape[layout.index("W")] = size
    return ImageInput(replace(tensor, shape=tuple(shape)), tuple(shape), layout, layout_from, size_from)


def _size(path: Path, wishes: _Wishes, sides: list[int]) -> tuple[_Size, str]:
    """Return height and width, of which `sides` has -1 for those that are open."""
    open_sides = -1 in sides
    wanted = wishes.size or (tuple(side for side in sides if side > 0) * 2)[:2] or DEFAULT_SIZE
    size = tuple(fixed if fixed > 0 else side for fixed, side in zip(sides, wanted, strict=True))
    if wishes.size and size != wishes.size:
        raise ModelError(
            f"{path}: input_size {list(wishes.size)} ({wishes.size_from}): the model takes {_by(size)} only"
            if not open_sides
            else f"{path}: input_size {list(wishes.size)} ({wishes.size_from}): the model takes {sides}"
        )
    if not open_sides:
        return size, "shape"
    return size, wishes.size_from if wishes.size else "default"


def _of_rows(path: Path, tensor: TensorSpec, wishes: _Wishes) -> ImageInput | None:
    """Of gray pictures without channels, [batch, height, width], and of flattened ones, [batch, numbers]."""
    batch, *sides = tensor.shape
    found = _square(sides) if wishes.size is None else _of_size(sides, wishes.size)
    if found is None:
        if wishes.size is None:
            return None
        raise ModelError(
            f"{path}: input_size {list(wishes.size)} ({wishes.size_from}): "
            f"the model takes {list(tensor.shape)}, not as many numbers as that has pixels, gray or in color"
        )
    height, width, channels = found
    layout, layout_from = wishes.layout or "NHWC", wishes.layout_from if wishes.layout else "default"
    if channels == 1:
        layout, layout_from = "NHWC", "shape"
    places = {"N": batch, "H": height, "W": width, "C": channels}
    return ImageInput(
        replace(tensor, shape=tuple(places[place] for place in layout)),
        (batch, *((height, width) if len(sides) == 2 else (height * width * channels,))),
        layout,
        layout_from,
        size_from=wishes.size_from if wishes.size else "square",
    )


def _square(sides: list[int]) -> tuple[int, int, int] | None:
    """Return height, width and channels of what is a square."""
    numbers = math.prod(sides)
    if len(sides) == 2:
        return (*sides, 1) if sides[0] == sides[1] >= _LEAST_SIDE else None  # type: ignore[return-value] # two
    for channels in (1, 3):
        side = math.isqrt(max(numbers, 0) // channels)
        if side >= _LEAST_SIDE and side * side * channels == numbers != _SECOND_OF_SOUND:
            return side, side, channels
    return None


def _of_size(sides: list[int], size: _Size) -> tuple[int, int, int] | None:
    height, width = size
    if len(sides) == 2:
        fits = all(side in {-1, wanted} for side, wanted in zip(sides, size, strict=True))
        return (height, width, 1) if fits else None
    channels = next((count for count in (1, 3) if height * width * count == sides[0]), None)
    return (height, width, channels) if channels else None


def _likeness(tensor: TensorSpec) -> str:
    """Say what else takes such an input."""
    shape, kind = tensor.shape, tensor.dtype.kind
    numbers = math.prod(abs(size) for size in shape)
    if kind not in "fiu":
        return ": it takes strings: texts, or images that are still encoded"
    if kind in "iu" and tensor.dtype.itemsize > 1 and len(shape) <= 2:
        return ": it looks like a model for text"
    if len(shape) <= 2 and kind == "f" and (numbers >= 1_000 or shape[-1:] == (-1,)):
        return ": it looks like a model for sound (a waveform)"
    if len(shape) == 5:
        return ": it looks like a model for clips of several frames"
    if len(shape) in {2, 3}:
        return ": if these are the pixels of an image, give model.input_size: [height, width]"
    return ""


def _by(size: _Size) -> str:
    return " x ".join(map(str, size))
