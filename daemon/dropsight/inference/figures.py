"""Pictures of results; needs matplotlib."""

import io
from collections.abc import Sequence

from dropsight import installing
from dropsight.errors import DropsightError
from dropsight.inference.calibration import CalibrationMetrics


def reliability_diagram(before: CalibrationMetrics, after: CalibrationMetrics) -> bytes:
    """Draw accuracy against confidence, before and after: a PNG; raises DropsightError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DropsightError(f"the diagram needs matplotlib: {installing.with_extra('explain')}") from error
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes: Sequence[object] = figure.subplots(1, 2, sharey=True)
    for axis, title, found in zip(axes, ("before", "after"), (before, after), strict=True):
        _draw(axis, f"{title}: T {found.temperature:.2f}, ECE {found.ece:.3f}", found)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    return picture.getvalue()


def _draw(axis: object, title: str, found: CalibrationMetrics) -> None:
    bins = [each for each in found.bins if each.count]
    most = max(each.count for each in bins)
    middles = [(each.low + each.high) / 2 for each in bins]
    width = bins[0].high - bins[0].low
    accuracies = [each.accuracy for each in bins]
    shades = [0.25 + 0.75 * each.count / most for each in bins]
    for middle, accuracy, shade in zip(middles, accuracies, shades, strict=True):
        axis.bar(middle, accuracy, width * 0.92, color="tab:blue", alpha=shade)  # type: ignore[attr-defined]
    axis.plot([0, 1], [0, 1], "--", color="gray", label="perfect")  # type: ignore[attr-defined]
    axis.plot([each.confidence for each in bins], accuracies, "o", color="tab:orange", label="found")  # type: ignore[attr-defined]
    axis.set(xlim=(0, 1), ylim=(0, 1), title=title, xlabel="confidence", ylabel="accuracy")  # type: ignore[attr-defined]
    axis.legend(loc="upper left")  # type: ignore[attr-defined]
