"""Explanations as a picture: photo, heatmap and overlay side by side, a row a class; needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path

from dropsight.errors import DropsightError
from dropsight.explain.explaining import Explanation
from dropsight.explain.heatmap import overlay

_WIDTH_INCHES, _ROW_INCHES = 10.5, 3.7


def side_by_side(path: Path, explanations: Sequence[Explanation], *, title: str) -> None:
    """Write the figure; raises DropsightError without matplotlib, or where it cannot be written."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DropsightError('the figure needs matplotlib: pip install "dropsight[explain]"') from error
    rows = len(explanations)
    figure = Figure(figsize=(_WIDTH_INCHES, _ROW_INCHES * rows + 0.4), layout="constrained")
    figure.suptitle(title)
    for axes, found in zip(figure.subplots(rows, 3, squeeze=False), explanations, strict=True):
        axes[0].imshow(found.pixels)
        axes[0].set_title("what the model sees")
        heat = axes[1].imshow(found.heatmap, cmap="jet", vmin=0, vmax=1)
        axes[1].set_title(f"{found.label} ({found.class_index}): {found.confidence:.1%}")
        axes[2].imshow(overlay(found.pixels, found.heatmap))
        axes[2].set_title(f"{found.method} over the photo")
        for axis in axes:
            axis.set_axis_off()
        figure.colorbar(heat, ax=axes[1], fraction=0.046, label="share of the strongest")
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise DropsightError(f"{path} cannot be written: {error}") from error
