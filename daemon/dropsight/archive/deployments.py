"""Where cameras stood and when: a deployments.csv of Camtrap DP, by the folders of their pictures."""

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dropsight.archive.origins import names_of_folder
from dropsight.errors import ConfigError, reason

Check = Callable[[str], str | None]
"""Says what a text ought to be, None where it is."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"
_MISSING = {"", "NA", "NaN", "nan"}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_FEATURES = {
    *("roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge"),
    *("culvert", "burrow", "nestSite", "carcass", "waterSource", "fruitingTree"),
}
_MOST_FAULTS = 10


def _number(text: str, *, least: float, most: float = math.inf, whole: bool = False) -> str | None:
    digits = _WHOLE if whole else _NUMBER
    if digits.fullmatch(text) and least <= float(text) <= most:
        return None
    until = f"to {most:g}" if most < math.inf else "on"
    return f"{'a whole number' if whole else 'a number'} from {least:g} {until}"


def _time(text: str) -> str | None:
    try:
        datetime.strptime(text, TIME_FORMAT).astimezone(UTC)
    except (ValueError, OverflowError):  # of the year 1, east of Greenwich
        return "a time with its zone, as 2026-05-30T02:57:37Z"
    return None


def _one_of(text: str, *, values: set[str]) -> str | None:
    return None if text in values else f"one of {', '.join(sorted(values))}"


def _any(_: str) -> str | None:
    return None


_positive, _whole = partial(_number, least=0), partial(_number, whole=True)
_yes_or_no = partial(_one_of, values={"true", "false", "True", "False", "TRUE", "FALSE", "1", "0"})
COLUMNS: dict[str, Check] = {
    "deploymentID": _any,
    "locationID": _any,
    "locationName": _any,
    "latitude": partial(_number, least=-90, most=90),
    "longitude": partial(_number, least=-180, most=180),
    "coordinateUncertainty": partial(_whole, least=1),
    "deploymentStart": _time,
    "deploymentEnd": _time,
    "setupBy": _any,
    "cameraID": _any,
    "cameraModel": _any,
    "cameraDelay": partial(_whole, least=0),
    "cameraHeight": _positive,
    "cameraDepth": _positive,
    "cameraTilt": partial(_whole, least=-90, most=90),
    "cameraHeading": partial(_whole, least=0, most=360),
    "detectionDistance": _positive,
    "timestampIssues": _yes_or_no,
    "baitUse": _yes_or_no,
    "featureType": partial(_one_of, values=_FEATURES),
    "habitat": _any,
    "deploymentGroups": _any,
    "deploymentTags": _any,
    "deploymentComments": _any,
}
"""Those of Camtrap DP 1.0.2, in its order."""
NEEDED = ("deploymentID", "latitude", "longitude")
NEEDS_DEPLOYMENTS = (
    "--format camtrap-dp needs --deployments FILE, a CSV with deploymentID (the folder below the source), "
    "latitude and longitude: the standard wants to know where each camera stood"
)
_FOLDER = "folder"
"""A column of our own, where the folder has another name than the deployment."""


class Deployments(NamedTuple):
    """The lines of a table by their folders."""

    file: Path
    lines: Mapping[str, Mapping[str, str]]

    def of(self, path: str, sources: Sequence[str]) -> Mapping[str, str] | None:
        """Return the line of a picture: that of its folder, or of the nearest above."""
        return next((self.lines[name] for name in names_of_folder(path, sources) if name in self.lines), None)


def read_deployments(file: Path) -> Deployments:
    """Read and check all; raises ConfigError with the lines that are not as the standard wants them."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as table:
            reader = csv.DictReader(table)
            _check_heading(file, reader.fieldnames or ())
            lines = [
                (reader.line_num, {name: _present(text) for name, text in line.items()}) for line in reader
            ]
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {reason(error)}"]) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([f"{file}: not a CSV table in UTF-8: {error}"]) from error
    faults = [f"{file}: line {number}: {fault}" for number, line in lines for fault in _faults(line)]
    by_folder: dict[str, dict[str, str]] = {}
    ids: set[str] = set()
    for number, line in lines:
        folder = (line.pop(_FOLDER, "") or line["deploymentID"]).rstrip("/")
        if folder in by_folder or line["deploymentID"] in ids:
            faults.append(f"{file}: line {number}: {folder} stands in a line above already")
        by_folder[folder] = line
        ids.add(line["deploymentID"])
    if faults:
        raise ConfigError(faults[:_MOST_FAULTS])
    return Deployments(file, by_folder)


def _present(text: object) -> str:
    return "" if not isinstance(text, str) or text.strip() in _MISSING else text.strip()


def _check_heading(file: Path, names: Sequence[str]) -> None:
    if missing := [name for name in NEEDED if name not in names]:
        wanted = "Camtrap DP wants each folder's deploymentID, latitude and longitude"
        raise ConfigError([f"{file}: no column {', '.join(missing)}: {wanted}"])
    if strange := [name for name in names if name not in COLUMNS and name != _FOLDER]:
        known = f"neither {_FOLDER} nor one of Camtrap DP's deployments"
        raise ConfigError([f"{file}: column {strange[0]}: {known}"])


def _faults(line: Mapping[str | None, str]) -> Iterator[str]:
    if None in line:
        yield "more cells than the heading has"
    yield from (f"{name} is missing" for name in NEEDED if not line[name])
    for name, check in COLUMNS.items():
        text = line.get(name, "")
        if text and (wanted := check(text)):
            yield f"{name}: {text} is not {wanted}"
