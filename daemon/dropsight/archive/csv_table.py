"""CSV with a heading: a line for each image, its best class only."""

import csv
from collections.abc import Iterator
from pathlib import Path

from dropsight.archive.output_formats import FormatFacts
from dropsight.archive.rows import ArchiveRow, HeadColumns
from dropsight.records import Prediction

COLUMNS = (
    *("path", "status", "predicted_class", "label", "confidence", "width", "height", "captured"),
    *("error_code", "error", "sha256", "model_digest", "latency_ms"),
)
GROUP_COLUMNS = ("group", "group_confidence")
"""Of a model that has groups."""
_BETWEEN = "; "


def write_csv(rows: Iterator[ArchiveRow], facts: FormatFacts, file: Path) -> None:
    columns = (*COLUMNS, *(GROUP_COLUMNS if facts.job.groups else ()), *facts.job.further)
    with file.open("w", encoding="utf-8", newline="") as table:
        lines = csv.writer(table)
        lines.writerow(columns)
        lines.writerows([_cell(getattr(row, name)) for name in columns] for row in rows)


def _cell(value: object) -> object:
    """Return what a spreadsheet can hold: of several classes their labels, of heads `name: label`."""
    if isinstance(value, list):
        return _BETWEEN.join(map(_word, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if isoformat else value


def _word(value: str | Prediction | HeadColumns) -> str:
    if isinstance(value, HeadColumns):
        present = None if value.present is None else [each.label for each in value.present]
        return f"{value.name}: {value.label if present is None else ', '.join(present)}"
    return value.label if isinstance(value, Prediction) else value
