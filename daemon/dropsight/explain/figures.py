"""Explanations as a picture: photo, heatmap and overlay side by side, one row per class."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dropsight.errors import ConfigError, DropsightError, reason
from dropsight.explain.explaining import Explanation
from dropsight.explain.heatmap import coloured, overlay
from dropsight.explain.inputs import Place
from dropsight.images.framing import Pixels

_PANEL, _MARGIN, _LINE = 360, 16, 22
_WIDTH = 3 * _PANEL + 4 * _MARGIN
_FONT, _SCALE = cv2.FONT_HERSHEY_DUPLEX, 0.5
_LONGEST_LABEL = 80
_KINDS = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff")


def check_figure(path: Path) -> None:
    """Raise ConfigError now for what would fail after all the work."""
    if _kind(path) not in _KINDS:
        raise ConfigError(
            [f"{path}: unsupported picture format {_kind(path)}; supported are {', '.join(_KINDS)}"]
        )


def side_by_side(
    path: Path,
    explanations: Sequence[Explanation],
    *,
    title: str,
    photo: tuple[Pixels, Place] | None = None,
) -> None:
    """Write the figure; `photo` is the whole picture, and where in it is what the model sees.

    Raises DropsightError where it cannot be written.
    """
    strips = [_text(title, _WIDTH - 2 * _MARGIN)]
    for found in explanations:
        label = found.label
        if len(label) > _LONGEST_LABEL:
            label = f"{label[: _LONGEST_LABEL - 3]}..."
        panels = (
            _photo(found, photo),
            (
                f"{label} ({found.class_index}): {found.confidence:.1%}",
                _fitted(coloured(found.heatmap, "jet")),
            ),
            (f"{found.method} over what it sees", _fitted(overlay(found.pixels, found.heatmap))),
        )
        texts = [_text(said, _PANEL) for said, _ in panels]
        strips += [_row(texts), _row([picture for _, picture in panels])]
    strips.append(_scale())
    figure = np.vstack([_padded(strip, height=strip.shape[0] + _MARGIN, width=_WIDTH) for strip in strips])
    try:
        encoded = cv2.imencode(f".{_kind(path)}", cv2.cvtColor(figure, cv2.COLOR_RGB2BGR))[1]
        path.write_bytes(encoded.tobytes())
    except (OSError, cv2.error) as error:
        said = error.err if isinstance(error, cv2.error) else reason(error)
        raise DropsightError(f"{path} cannot be written: {said}") from error


def _photo(found: Explanation, photo: tuple[Pixels, Place] | None) -> tuple[str, Pixels]:
    if photo is None:
        return "what the model sees", _fitted(found.pixels)
    pixels, (rows, columns) = photo
    shown, factor = _fitted(pixels), _factor(pixels)
    height, width = (max(round(side * factor), 1) for side in pixels.shape[:2])
    left, top = (_PANEL - width) // 2, (_PANEL - height) // 2
    first = (left + round(columns.start * factor), top + round(rows.start * factor))
    last = (left + round(columns.stop * factor) - 1, top + round(rows.stop * factor) - 1)
    for colour, thickness in ((0, 0, 0), 4), ((255, 255, 255), 2):
        cv2.rectangle(shown, first, last, colour, thickness)
    return "photo; the model sees the frame", shown


def _factor(pixels: Pixels) -> float:
    # Room for the frame's outer half.
    return float((_PANEL - 4) / max(pixels.shape[:2]))


def _fitted(pixels: Pixels) -> Pixels:
    """As large as a panel holds it, in its middle."""
    factor = _factor(pixels)
    size = [max(round(side * factor), 1) for side in pixels.shape[1::-1]]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return _padded(cv2.resize(pixels, size, interpolation=how).astype(np.uint8), height=_PANEL, width=_PANEL)


def _padded(pixels: Pixels, *, height: int, width: int) -> Pixels:
    """On white, in the middle."""
    page = np.full((height, width, 3), 255, np.uint8)
    top, left = ((outer - inner) // 2 for outer, inner in zip((height, width), pixels.shape, strict=False))
    page[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return page


def _row(panels: Sequence[Pixels]) -> Pixels:
    height = max(panel.shape[0] for panel in panels)
    return np.hstack([_padded(panel, height=height, width=_PANEL + _MARGIN) for panel in panels])


def _text(text: str, width: int) -> Pixels:
    """Wrapped as wide as this, every line in the middle."""
    lines = _wrapped(text, width)
    page = np.full((_LINE * len(lines), width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        at = ((width - _width(line)) // 2, _LINE * (number + 1) - 7)
        cv2.putText(page, line, at, _FONT, _SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return page


def _wrapped(text: str, width: int) -> list[str]:
    for letters in range(min(len(text), width), 0, -1):
        lines = textwrap.wrap(text, letters)
        if all(_width(line) <= width for line in lines):
            return lines
    return [""]


def _width(line: str) -> int:
    return int(cv2.getTextSize(line, _FONT, _SCALE, 1)[0][0])


def _scale() -> Pixels:
    """What the colours mean."""
    colours = coloured(np.tile(np.linspace(0, 1, _PANEL, dtype=np.float32), (_LINE // 2, 1)), "jet")
    words = _text("share of the strongest: blue 0, red 1", _PANEL)
    return np.hstack([_padded(colours, height=_LINE, width=_PANEL + _MARGIN), words])


def _kind(path: Path) -> str:
    return path.suffix[1:].lower() or "png"
