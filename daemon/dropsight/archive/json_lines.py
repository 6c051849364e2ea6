"""JSON lines: the keys of our own records, as far as an archive knows them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from dropsight.archive.job_file import ModelCard
from dropsight.archive.output_formats import FormatFacts
from dropsight.archive.rows import ArchiveRow, HeadColumns
from dropsight.names import as_one_line
from dropsight.records import NO_CLASS, SCHEMA, HeadAnswer, Prediction

_encode = msgspec.json.Encoder().encode


def write_json_lines(rows: Iterator[ArchiveRow], facts: FormatFacts, file: Path) -> None:
    with file.open("wb") as lines:
        for row in rows:
            lines.write(as_one_line(_encode(_record(row, facts.job.model))) + b"\n")


def _record(row: ArchiveRow, model: ModelCard) -> dict[str, object]:
    facts: dict[str, object] = {
        "schema": SCHEMA,
        "status": row.status,
        "image_path": row.path,
        "kind": "clip" if row.clip else "image",
    }
    if row.status == "ok":
        facts |= _answer(row, model)
    else:
        facts["error"] = {"code": row.error_code, "message": row.error}
    if row.width is not None:
        captured = _text(row.captured)
        facts["image"] = {"width": row.width, "height": row.height, "captured": captured}
    if row.clip:
        facts["clip"] = msgspec.structs.asdict(row.clip)
    facts["sha256"] = row.sha256
    facts["model"] = {
        "name": model.name,
        "format": model.format,
        "quantization": model.quantization,
        "digest": row.model_digest,
    }
    if row.latency_ms is not None:
        facts["latency_ms"] = {"total": round(row.latency_ms, 3)}
    return facts


def _answer(row: ArchiveRow, model: ModelCard) -> dict[str, object]:
    likely = map(_six_digits, row.top_confidences or ())
    best = list(zip(row.top_classes or (), likely, strict=True))
    words: dict[str, object] = {}
    if row.group is not None and row.group_confidence is not None:
        words = {"group": row.group, "group_confidence": _six_digits(row.group_confidence)}
    elif row.predicted_class == NO_CLASS:
        words = {"would_be": model.labels[best[0][0]]}
    return {
        "predicted_class": row.predicted_class,
        "label": row.label,
        "confidence": best[0][1],
        "top_5_predictions": {str(index): confidence for index, confidence in best[:5]},
        "predictions": [
            {"class": index, "label": model.labels[index], "confidence": confidence}
            for index, confidence in best
        ],
        **words,
        **_further(row),
    }


def _further(row: ArchiveRow) -> dict[str, object]:
    """Return the keys of a model that gives more than one answer."""
    facts: dict[str, object] = {}
    if row.present is not None:
        facts |= {"multi_label": True, "present": _rounded(row.present)}
    if row.heads is not None:
        facts["heads"] = {head.name: _head(head) for head in row.heads}
    if row.prediction_set is not None:
        facts["prediction_set"] = row.prediction_set
    return facts


def _head(head: HeadColumns) -> HeadAnswer:
    several = head.present is not None
    return HeadAnswer(
        head.predicted_class,
        head.label,
        _six_digits(head.confidence),
        _rounded(head.predictions),
        multi_label=several or msgspec.UNSET,
        present=_rounded(head.present or []) if several else msgspec.UNSET,
    )


def _rounded(classes: Sequence[Prediction]) -> list[Prediction]:
    return [msgspec.structs.replace(each, confidence=_six_digits(each.confidence)) for each in classes]


def _text(captured: datetime | None) -> str | None:
    return None if captured is None else captured.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _six_digits(confidence: float) -> float:
    """A float32 has no more; as a float64 it would be written with nine others."""
    return round(confidence, 6)
