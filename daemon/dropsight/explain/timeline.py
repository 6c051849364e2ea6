"""A clip's timeline as a picture: what it showed when, with the frames above; needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dropsight import installing
from dropsight.errors import DropsightError, ModelError, reason
from dropsight.images.framing import Pixels
from dropsight.inference.clips import FilmFrame
from dropsight.inference.results import ClipResult
from dropsight.records import shown_confidence, shown_label

_MOST_LINES = 6
_FILM_FRAMES = 12


def draw(path: Path, result: ClipResult, film: Sequence[FilmFrame]) -> None:
    """Write the figure; raises DropsightError where it cannot be written, or matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelError(f"--figure needs matplotlib: {installing.with_extra('explain')}") from error
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    strip, chart = figure.subplots(2, 1, height_ratios=(1, 2))
    strip.imshow(_film(film, result.clip.duration), aspect="auto")
    strip.set_axis_off()
    title = f"{shown_label(result)} {shown_confidence(result):.1%}  ({result.clip.aggregate})"
    strip.set_title(title, loc="left")
    clip = result.clip
    labels = _most_seen(result)
    for label in labels:
        parts = [each for each in clip.segments if each.label == label]
        chart.broken_barh(
            [(each.begins, each.ends - each.begins) for each in parts],
            (labels.index(label) - 0.4, 0.8),
            alpha=0.35,
        )
    chart.set_yticks(range(len(labels)), labels)
    chart.set_xlim(0, max(clip.duration, 0.1))
    chart.set_xlabel("seconds" if clip.timed else "seconds, by the frame rate")
    sure = chart.twinx()
    sure.plot([row[0] for row in clip.timeline], [row[2] for row in clip.timeline], "k.-", linewidth=0.8)
    sure.axvline(clip.peak.time, color="tab:red", linewidth=1)
    sure.set_ylim(0, 1)
    sure.set_ylabel("confidence of the best class")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        told = reason(error) if isinstance(error, OSError) else str(error)
        raise DropsightError(f"{path}: cannot be written: {told}") from error


def _most_seen(result: ClipResult) -> list[str]:
    seconds: dict[str, float] = {result.predictions[0].label: float("inf")}
    for each in result.clip.segments:
        seconds[each.label] = seconds.get(each.label, 0) + each.ends - each.begins
    return sorted(seconds, key=lambda label: -seconds[label])[:_MOST_LINES][::-1]


def _film(film: Sequence[FilmFrame], duration: float) -> Pixels:
    """Return twelve frames side by side, each the one that shows in the middle of its part of the clip."""
    middles = (np.arange(_FILM_FRAMES) + 0.5) * duration / _FILM_FRAMES
    places = np.searchsorted([each.time for each in film], middles, side="right") - 1
    frames = [
        np.asarray(cv2.imdecode(np.frombuffer(film[place].jpeg, np.uint8), cv2.IMREAD_COLOR))
        for place in places
    ]
    height, width = min(each.shape[:2] for each in frames)
    row = np.hstack([cv2.resize(each, (width, height)) for each in frames])
    return np.asarray(cv2.cvtColor(row, cv2.COLOR_BGR2RGB), np.uint8)
