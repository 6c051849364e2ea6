"""Camtrap DP 1.0.2, the exchange format of camera traps (camtrap-dp.tdwg.org): four files in a folder."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from dropsight.archive import deployments
from dropsight.archive.deployments import Deployments
from dropsight.archive.job_file import JobFile
from dropsight.archive.naming import naming_of
from dropsight.archive.origins import origin_of
from dropsight.archive.output_formats import FormatFacts
from dropsight.archive.rows import ArchiveRow
from dropsight.archive.storage import is_url
from dropsight.errors import ConfigError
from dropsight.version import VERSION

log = logging.getLogger(__name__)

_STANDARD = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2"
MEDIA = (
    *("mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName"),
    *("fileMediatype", "exifData", "favorite", "mediaComments"),
)
OBSERVATIONS = (
    *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel"),
    *("observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior"),
    *("individualID", "individualPositionRadius", "individualPositionAngle", "individualSpeed"),
    *("bboxX", "bboxY", "bboxWidth", "bboxHeight", "classificationMethod", "classifiedBy"),
    *("classificationTimestamp", "classificationProbability", "observationTags", "observationComments"),
)
_MEDIATYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".mov": "video/quicktime",
    ".avi": "video/vnd.avi",
    ".mkv": "video/matroska",
    ".ts": "video/mp2t",
    ".m4v": "video/mp4",
    ".mpg": "video/mpeg",
    ".mts": "video/mp2t",
    ".wmv": "video/x-ms-asf",
    **{f".{name}": f"image/{name}" for name in ("png", "webp", "bmp", "gif", "heic", "heif", "avif")},
    **{f".{name}": f"video/{name}" for name in ("mp4", "webm", "mpeg", "h264", "h265")},
}
_MOST_NAMED = 5


class _Span(NamedTuple):
    """A deployment's line, and when its first and last picture were taken."""

    line: Mapping[str, str]
    first: datetime
    last: datetime


class _Package:
    """What is gathered while the rows go by: as much as there are deployments and classes."""

    def __init__(self, job: JobFile, known: Deployments) -> None:
        self._job, self._known = job, known
        self._by = f"{job.model.name} {job.model.digest}"
        self.spans: dict[str, _Span] = {}
        self.names: set[str] = set()
        self.unknown: dict[str, None] = {}
        self.timeless = 0

    def add(self, row: ArchiveRow, media: Any, observations: Any) -> None:  # noqa: ANN401 - csv's writers
        line = self._known.of(row.path, self._job.sources)
        if line is None:
            base, rest = origin_of(row.path, self._job.sources)
            self.unknown[rest.rpartition("/")[0] or base] = None
        elif row.captured is None:
            self.timeless += 1
        else:
            span = self.spans.get(line["deploymentID"], _Span(line, row.captured, row.captured))
            first, last = min(span.first, row.captured), max(span.last, row.captured)
            self.spans[line["deploymentID"]] = _Span(line, first, last)
            found = blake2b(row.path.encode(), digest_size=16).hexdigest()
            media.writerow(_medium(row, found, line["deploymentID"], row.captured))
            observations.writerow(self._observation(row, found, line["deploymentID"], row.captured))

    def _observation(
        self, row: ArchiveRow, medium: str, deployment: str, captured: datetime
    ) -> dict[str, object]:
        seconds = row.clip.duration if row.clip else 0.0
        facts: dict[str, object] = {
            "observationID": f"{medium}-1",
            "deploymentID": deployment,
            "mediaID": medium,
            "eventStart": _time(captured),
            "eventEnd": _time(_later(captured, seconds)),
            "observationLevel": "media",
            "observationType": "unclassified",
        }
        if row.status != "ok":
            return facts
        naming = naming_of(row.label or "")
        if naming.scientific:
            self.names.add(naming.scientific)
        return facts | {
            "observationType": naming.kind,
            "scientificName": naming.scientific,
            "classificationMethod": "machine",
            "classifiedBy": self._by,
            "classificationTimestamp": _time(datetime.fromisoformat(self._job.updated)),
            "classificationProbability": f"{min(row.confidence or 0.0, 1.0):.6f}",
        }

    def check(self) -> None:
        """Raise ConfigError where pictures are of no deployment."""
        if self.unknown:
            others = len(self.unknown) - _MOST_NAMED
            named = ", ".join(list(self.unknown)[:_MOST_NAMED]) + (
                f" and {others} more" if others > 0 else ""
            )
            fault = f"{self._known.file}: no line for the folder {named}"
            raise ConfigError(
                [f"{fault}: add it with its coordinates; the same command then resumes from here"]
            )
        if not self.spans:
            raise ConfigError(["camtrap-dp: needs the time of capture, and no picture has one"])
        if self.timeless:
            what = "1 file is" if self.timeless == 1 else f"{self.timeless} files are"
            log.warning("camtrap-dp: %s left out: the time of capture is not known", what)

    def lines(self) -> Iterator[dict[str, str]]:
        """Yield the deployments, of those without a time that of their first or last picture."""
        for span in self.spans.values():
            times = {"deploymentStart": _time(span.first), "deploymentEnd": _time(span.last)}
            yield {**times, **{name: text for name, text in span.line.items() if text}}

    def description(self, lines: Sequence[Mapping[str, str]]) -> dict[str, object]:
        """Describe the package; what nobody can know but its owner is the least that may stand there."""
        starts, ends = ([_parsed(line[f"deployment{which}"]) for line in lines] for which in ("Start", "End"))
        title = " ".join(PurePosixPath(source).name for source in self._job.sources) or "archive"
        places = {(float(line["longitude"]), float(line["latitude"])): None for line in lines}
        return {
            "resources": [_resource(name) for name in ("deployments", "media", "observations")],
            "profile": f"{_STANDARD}/camtrap-dp-profile.json",
            "created": _time(datetime.fromisoformat(self._job.updated)),
            "title": title,
            "description": f"Classified by {self._by}. Written by dropsight, which cannot know the "
            "contributors, nor the project's title, sampling design and capture method: correct them.",
            "contributors": [{"title": f"dropsight {VERSION}", "role": "contributor"}],
            "project": {
                "title": title,
                "samplingDesign": "opportunistic",
                "captureMethod": ["activityDetection"],
                "individualAnimals": False,
                "observationLevel": ["media"],
            },
            "spatial": {"type": "MultiPoint", "coordinates": list(places)},
            "temporal": {"start": min(starts).date().isoformat(), "end": max(ends).date().isoformat()},
            "taxonomic": [{"scientificName": name} for name in sorted(self.names)],
        }


def write_camtrap_dp(
    rows: Iterator[ArchiveRow],
    facts: FormatFacts,
    description: Path,
    placements: Path,
    media: Path,
    observations: Path,
) -> None:
    """Write the four files; raises ConfigError where pictures are of no deployment."""
    if facts.deployments is None:
        raise ConfigError([deployments.NEEDS_DEPLOYMENTS])
    package = _Package(facts.job, facts.deployments)
    with _opened(media) as pictures, _opened(observations) as seen:
        tables = csv.DictWriter(pictures, MEDIA), csv.DictWriter(seen, OBSERVATIONS)
        for table in tables:
            table.writeheader()
        for row in rows:
            package.add(row, *tables)
    package.check()
    lines = list(package.lines())
    with _opened(placements) as file:
        table = csv.DictWriter(file, list(deployments.COLUMNS))
        table.writeheader()
        table.writerows(lines)
    description.write_bytes(msgspec.json.format(msgspec.json.encode(package.description(lines)), indent=2))


def _opened(file: Path) -> Any:  # noqa: ANN401 - what open returns
    return file.open("w", encoding="utf-8", newline="")


def _medium(row: ArchiveRow, found: str, deployment: str, captured: datetime) -> dict[str, object]:
    name = PurePosixPath(row.path)
    other = "video/mp4" if row.clip else "image/unknown"
    # A path that leads out of the package is none; a URL is, without what would lead upwards.
    address = row.path if is_url(row.path) else f"file://{quote(row.path)}"
    return {
        "mediaID": found,
        "deploymentID": deployment,
        "timestamp": _time(captured),
        "filePath": address.replace("..", "%2E%2E"),
        "filePublic": "false",
        "fileName": name.name,
        "fileMediatype": _MEDIATYPES.get(name.suffix.lower(), other),
        "mediaComments": None if row.status == "ok" else f"{row.error_code}: {row.error}",
    }


def _resource(name: str) -> dict[str, str]:
    return {
        "name": name,
        "path": f"{name}.csv",
        "profile": "tabular-data-resource",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": f"{_STANDARD}/{name}-table-schema.json",
    }


def _later(when: datetime, seconds: float) -> datetime:
    try:
        return when + timedelta(seconds=seconds)
    except (OverflowError, ValueError):  # of the year 9999, or of a clip that lasts for ages
        return when


def _time(when: datetime) -> str:
    """Write the year in four digits, as cameras also tell the year 500."""
    return when.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def _parsed(text: str) -> datetime:
    return datetime.strptime(text, deployments.TIME_FORMAT).astimezone(UTC)
