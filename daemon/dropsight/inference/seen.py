"""What of a camera's picture the model sees: as a share, in words, and drawn for people."""

from collections.abc import Iterator, Sequence

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.images.framing import Pixels, Place, place_of, places
from dropsight.images.masks import Mask
from dropsight.inference.planning import Plan

Canvas = NDArray[np.bool_]
# As finely as shares are told.
_CANVAS_PIXELS = 256
_DIMMED = 0.3
# RGB: neighbours differ, and none is like what cameras show much of.
_COLOURS = ((255, 196, 0), (0, 200, 255), (255, 92, 168), (122, 220, 80), (190, 140, 255), (255, 140, 60))
_HATCH_PIXELS = 12
_OTHER_SHAPE = 1.05


class SeenPart(msgspec.Struct, frozen=True):
    """A part of a picture, or without a name all of it, and the places in it that the model is given."""

    name: str
    place: Place
    squares: Sequence[Place]


def seen_parts(plan: Plan, width: int, height: int) -> list[SeenPart]:
    """Return those of a picture of this size."""
    if plan.sight is None or not plan.sight.crops:
        whole = (slice(0, height), slice(0, width))
        return [SeenPart("", whole, _squares(plan, whole, plan.spec.framing.central))]
    named = [(name, place_of(box, width, height)) for name, box in plan.sight.crops.items()]
    return [SeenPart(name, place, _squares(plan, place, 1.0)) for name, place in named]


def seen_in_words(plan: Plan, width: int, height: int) -> str:
    """Say which share of a picture of this size the model sees, and how."""
    scale = min(_CANVAS_PIXELS / max(width, height), 1.0)
    across, down = max(round(width * scale), 1), max(round(height * scale), 1)
    parts = seen_parts(plan, across, down)
    seen = _canvas(parts, across, down)
    painted = _painted(plan, across, down)
    said = f"{_percent((seen & ~painted).mean())} of the picture"
    if plan.sight and plan.sight.crops:
        said += f", in {len(parts)} part{'s' * (len(parts) > 1)}: {', '.join(_part_in_words(parts))}"
    else:
        said += f": {_how(plan, len(parts[0].squares))}"
    return f"{said}; {_percent(painted.mean())} is painted over" if painted.any() else said


def drawn(plan: Plan, pixels: Pixels) -> Pixels:
    """Return a picture on which the places that the model sees are framed, and the others are dark."""
    height, width = pixels.shape[:2]
    parts = seen_parts(plan, width, height)
    seen, painted = _canvas(parts, width, height), _painted(plan, width, height)
    shown = plan.sight.shown(pixels).copy() if plan.sight else pixels.copy()
    shown[painted & _hatching(height, width)] = 255
    shown[~seen] = (shown[~seen] * _DIMMED).astype(np.uint8)
    thick = max(round(max(height, width) / 300), 1)
    all_squares = [(part, square) for part in parts for square in part.squares]
    for number, (part, square) in enumerate(all_squares):
        colour = _COLOURS[number % len(_COLOURS)]
        _frame(shown, square, colour, thick)
        if part.name and square is part.squares[0]:
            rows, columns = part.place
            cv2.rectangle(shown, (columns.start, rows.start), (columns.stop - 1, rows.stop - 1), colour, 1)
            _name(shown, part.name, part.place, colour, thick)
    return shown


def mask_misfit(mask: Mask, width: int, height: int) -> str | None:
    """Say how far a mask is of another shape than pictures of this size; None where it is of theirs."""
    down, across = mask.painted.shape
    shape, theirs = across / down, width / height
    if max(shape / theirs, theirs / shape) < _OTHER_SHAPE:
        return None
    return f"it is {shape:.2f} times as wide as high, the pictures are {theirs:.2f} times: it is stretched"


def _squares(plan: Plan, place: Place, fraction: float) -> list[Place]:
    rows, columns = place
    framing, spec = plan.spec.framing, plan.spec
    width, height = columns.stop - columns.start, rows.stop - rows.start
    found = places(width, height, to=(spec.height, spec.width), how=framing.resize, fraction=fraction)
    return [(_moved(down, rows.start), _moved(across, columns.start)) for down, across in found]


def _moved(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _canvas(parts: Sequence[SeenPart], width: int, height: int) -> Canvas:
    seen = np.zeros((height, width), np.bool_)
    for part in parts:
        for square in part.squares:
            seen[square] = True
    return seen


def _painted(plan: Plan, width: int, height: int) -> Canvas:
    mask: Mask | None = plan.sight.mask if plan.sight else None
    return mask.at(width, height) if mask else np.zeros((height, width), np.bool_)


def _part_in_words(parts: Sequence[SeenPart]) -> Iterator[str]:
    for part in parts:
        whole, seen = _area(part.place), sum(map(_area, part.squares))
        yield part.name if seen >= 0.97 * whole else f"{part.name} ({_percent(seen / whole)} of it)"


def _how(plan: Plan, squares: int) -> str:
    framing = plan.spec.framing
    return {
        "crop": f"its central part ({framing.central:g} of its sides); model.resize: cover sees all of it",
        "stretch": "all of it, stretched",
        "letterbox": "all of it, small, with borders",
        "cover": f"{squares} overlapping squares" if squares > 1 else "one square",
    }[framing.resize]


def _area(place: Place) -> int:
    rows, columns = place
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _hatching(height: int, width: int) -> Canvas:
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((rows + columns) % _HATCH_PIXELS < 2)


def _frame(shown: Pixels, square: Place, colour: tuple[int, int, int], thick: int) -> None:
    """Draw inside, dark on both sides, so that it shows on whatever there is."""
    rows, columns = square
    inset = thick // 2 + 1
    corners = (columns.start + inset, rows.start + inset), (columns.stop - inset - 1, rows.stop - inset - 1)
    cv2.rectangle(shown, *corners, (0, 0, 0), thick + 2)
    cv2.rectangle(shown, *corners, colour, thick)


def _name(shown: Pixels, name: str, square: Place, colour: tuple[int, int, int], thick: int) -> None:
    rows, columns = square
    size = 0.35 * thick + 0.15
    (width, height), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    left, top = columns.start, max(rows.start, 0)
    pad = 2 * thick
    cv2.rectangle(shown, (left, top), (left + width + 2 * pad, top + height + 2 * pad), colour, cv2.FILLED)
    place = (left + pad, top + height + pad)
    cv2.putText(shown, name, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)
