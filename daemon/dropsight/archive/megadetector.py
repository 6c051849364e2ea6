"""MegaDetector's batch results, version 1.6: what Timelapse and AddaxAI read."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dropsight.archive.json_object import write_object
from dropsight.archive.naming import Kind, naming_of
from dropsight.archive.origins import origin_of
from dropsight.archive.output_formats import FormatFacts
from dropsight.archive.rows import ArchiveRow
from dropsight.version import VERSION

_CATEGORIES: dict[str, tuple[Kind, str]] = {
    "1": ("animal", "animal"),
    "2": ("human", "person"),
    "3": ("vehicle", "vehicle"),
}
_OF_KIND: dict[Kind, str] = {kind: number for number, (kind, _) in _CATEGORIES.items()}
# Of these the format wants to know frames, whatever is in them.
_CLIP_SUFFIXES = {".mp4", ".avi", ".mpeg", ".mpg", ".mov", ".mkv", ".flv"}


def write_megadetector(rows: Iterator[ArchiveRow], facts: FormatFacts, file: Path) -> None:
    job = facts.job
    kinds = {naming_of(label).kind for label in job.model.labels} | {"animal"}
    about = {
        "info": {
            "format_version": "1.6",
            "detector": "none: each picture whole",
            "classifier": f"{job.model.name} {job.model.digest}",
            "classification_completion_time": job.updated[:19].replace("T", " "),
            "classifier_metadata": {"written_by": f"dropsight {VERSION}"},
        },
        "detection_categories": {
            number: name for number, (kind, name) in _CATEGORIES.items() if kind in kinds
        },
        "classification_categories": {
            str(number): label.strip() or f"class {number}" for number, label in enumerate(job.model.labels)
        },
    }
    write_object(file, about, "images", (_image(row, job.sources) for row in rows))


def _image(row: ArchiveRow, sources: tuple[str, ...]) -> dict[str, object]:
    """Return a file's entry; of one source, by its way from there on, as Timelapse wants it."""
    image: dict[str, object] = {"file": origin_of(row.path, sources).rest if len(sources) == 1 else row.path}
    is_clip = row.clip is not None or PurePosixPath(row.path).suffix.lower() in _CLIP_SUFFIXES
    rate = row.clip.fps if row.clip and row.clip.fps > 0 else 1.0
    frame = round(row.clip.peak_time * rate) if row.clip else 0
    if is_clip:
        image |= {"frame_rate": round(rate, 3), "frames_processed": [frame] if row.status == "ok" else []}
    if row.status != "ok":
        return image | {"failure": f"{row.error_code}: {row.error}", "detections": None}
    detections = [_detection(row) | ({"frame_number": frame} if is_clip else {})]
    return image | {"detections": detections if naming_of(row.label or "").kind != "blank" else []}


def _detection(row: ArchiveRow) -> dict[str, object]:
    """Say that what the model names is somewhere in the picture."""
    likely = zip(row.top_classes or (), row.top_confidences or (), strict=True)
    return {
        "category": _OF_KIND.get(naming_of(row.label or "").kind, "1"),
        "conf": round(row.confidence or 0.0, 6),
        "bbox": [0.0, 0.0, 1.0, 1.0],
        "classifications": [[str(index), round(confidence, 6)] for index, confidence in likely],
    }
