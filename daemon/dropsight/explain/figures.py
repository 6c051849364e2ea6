"""Explanations as a picture: photo, heatmap and overlay side by side, a row a class; needs matplotlib."""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from dropsight.errors import DropsightError
from dropsight.explain.explaining import Explanation
from dropsight.explain.heatmap import overlay
from dropsight.explain.inputs import Place
from dropsight.images.framing import Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_INCHES, _ROW_INCHES = 10.5, 3.9


def check_figure(path: Path) -> None:
    """Raise DropsightError now for what would fail after all the work."""
    kinds = _matplotlib().Figure().canvas.get_supported_filetypes()
    if _kind(path) not in kinds:
        raise DropsightError(f"{path}: no picture of the kind {_kind(path)}; there are {', '.join(kinds)}")
    if not path.absolute().parent.is_dir():
        raise DropsightError(f"{path} cannot be written: there is no folder {path.absolute().parent}")


def side_by_side(
    path: Path,
    explanations: Sequence[Explanation],
    *,
    title: str,
    photo: tuple[Pixels, Place] | None = None,
) -> None:
    """Write the figure; `photo` is the whole picture, and where in it is what the model sees.

    Raises DropsightError without matplotlib, or where it cannot be written.
    """
    rows = len(explanations)
    figure = _matplotlib().Figure(figsize=(_WIDTH_INCHES, _ROW_INCHES * rows + 0.5), layout="constrained")
    # What stands between dollars in a name is no formula.
    figure.suptitle(_wrapped(title, 90), parse_math=False)
    for axes, found in zip(figure.subplots(rows, 3, squeeze=False), explanations, strict=True):
        _show_photo(axes[0], found, photo)
        heat = axes[1].imshow(found.heatmap, cmap="jet", vmin=0, vmax=1)
        label = found.label if len(found.label) <= 80 else f"{found.label[:79]}\N{HORIZONTAL ELLIPSIS}"
        said = f"{label} ({found.class_index}): {found.confidence:.1%}"
        axes[1].set_title(_wrapped(said, 34), parse_math=False)
        axes[2].imshow(overlay(found.pixels, found.heatmap))
        axes[2].set_title(f"{found.method} over what it sees")
        for axis in axes:
            axis.set_axis_off()
        figure.colorbar(heat, ax=axes[1], fraction=0.046, label="share of the strongest")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # letters that the font has not
            figure.savefig(path, dpi=110, format=_kind(path))
    except (OSError, ValueError) as error:
        raise DropsightError(f"{path} cannot be written: {error}") from error


def _show_photo(axes: "Axes", found: Explanation, photo: tuple[Pixels, Place] | None) -> None:
    from matplotlib.patches import Rectangle

    if photo is None:
        axes.imshow(found.pixels)
        axes.set_title("what the model sees")
        return
    pixels, (rows, columns) = photo
    axes.imshow(pixels)
    size = columns.stop - columns.start, rows.stop - rows.start
    corner = columns.start - 0.5, rows.start - 0.5
    for colour, width in (("black", 3.5), ("white", 1.5)):
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=width, clip_on=False))
    axes.set_title("photo; the model sees the frame")


def _matplotlib() -> ModuleType:
    try:
        from matplotlib import figure
    except ImportError as error:
        raise DropsightError('the figure needs matplotlib: pip install "dropsight[explain]"') from error
    return figure


def _kind(path: Path) -> str:
    return path.suffix[1:].lower() or "png"


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))
