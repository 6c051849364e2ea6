"""SpeciesNet's predictions, as version 5 writes them of a classifier of whole pictures."""

import logging
from collections.abc import Iterator
from pathlib import Path

from dropsight.archive.json_object import write_object
from dropsight.archive.output_formats import FormatFacts
from dropsight.archive.rows import ArchiveRow

log = logging.getLogger(__name__)

_VERSION = "20261015"
# Its labels have seven parts: an id, five ranks, the common name.
_SEPARATORS = 6


def write_speciesnet(rows: Iterator[ArchiveRow], facts: FormatFacts, file: Path) -> None:
    labels = [_seven_parts(label) for label in facts.job.model.labels]
    version = f"{facts.job.model.name} {facts.job.model.digest}"
    clips = 0

    def predictions() -> Iterator[dict[str, object]]:
        nonlocal clips
        for row in rows:
            if row.clip:
                clips += 1
            else:
                yield _prediction(row, labels) | {"model_version": version}

    write_object(file, {"info": {"format_version": _VERSION}}, "predictions", predictions())
    if clips:
        what = "1 clip is" if clips == 1 else f"{clips} clips are"
        log.warning("speciesnet: %s left out: the format is of pictures only", what)


def _prediction(row: ArchiveRow, labels: list[str]) -> dict[str, object]:
    if row.status != "ok":
        return {"filepath": row.path, "failures": ["CLASSIFIER"]}
    whole = {
        "category": "0",
        "label": "whole_image_classification",
        "conf": 1.0,
        "bbox": [0.0, 0.0, 1.0, 1.0],
        "raw_classifications": {
            "classes": [labels[index] for index in row.top_classes or ()],
            "scores": [round(confidence, 6) for confidence in row.top_confidences or ()],
        },
    }
    return {"filepath": row.path, "detections": [whole]}


def _seven_parts(label: str) -> str:
    if label.count(";") == _SEPARATORS:
        return label
    return ";" * _SEPARATORS + label.replace(";", ",")
