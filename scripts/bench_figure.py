"""The figure of scripts/bench_pipeline.py: bars of images a second, one panel per model.

scripts/bench_figure.py docs/throughput.json docs/figures/throughput.png
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

COLOURS = {"yardstick": "#9a9a9a", "run --once": "#1b6ca8", "batch": "#6fb1dd", "own loop": "#d98c3f",
           "MediaPipe": "#7a5195"}  # fmt: skip


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG; each bar is named with its images a second."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = plt.subplots(
        len(models), 1, figsize=(9, 2.9 * len(models)), squeeze=False, layout="constrained"
    )
    for axis, model in zip(axes[:, 0], models, strict=True):
        mine = [row for row in rows if row["model"] == model]
        names = list(mine[0]["contenders"])
        width = 0.8 / len(names)
        for place, name in enumerate(names):
            heights = [row["contenders"][name]["images_per_second"] for row in mine]
            bars = axis.bar(
                [number + (place - (len(names) - 1) / 2) * width for number in range(len(mine))],
                heights,
                width,
                label=name,
                color=COLOURS[name],
            )
            axis.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
        axis.set_xticks(range(len(mine)), [row["case"] for row in mine])
        axis.set_ylabel("images/s")
        axis.set_title(model, loc="left", fontsize=10)
        axis.margins(y=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=8, ncols=len(COLOURS))
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["rows"], Path(sys.argv[2]))
