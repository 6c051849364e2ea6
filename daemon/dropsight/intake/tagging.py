"""Tags: what an image's name says of it, and a JSON file beside it."""

import codecs
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from dropsight.config.name_patterns import name_pattern
from dropsight.errors import ImageError, MachineError
from dropsight.files.original import NAME_BYTES, TAGS_SUFFIX
from dropsight.images.opening import Bounds
from dropsight.inference.image_records import UNTAGGED, Tagged
from dropsight.intake.folder import SIDECAR_SUFFIX, DropFolder
from dropsight.names import as_json, as_text
from dropsight.records import Tag

CAPTURED = "captured"
SIDECAR_BYTES = 16 * 1024
SIDECAR = Bounds(max_bytes=SIDECAR_BYTES)
MOST_TAGS, LONGEST_NAME, LONGEST_TEXT = 64, 64, 256
MOST_TAG_BYTES = 4_096
"""Of all of them: a journal holds a hundred thousand records."""
_MOST_FAULTS = 8
_DIGITS = {10: 1.0, 13: 1e3}  # of seconds and milliseconds since 1970
_LAYOUTS = {12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S%f"}


class TagFile(NamedTuple):
    """What lies beside an image; `fault` is why it cannot be read, `changed_ns` its time of change."""

    name: str
    data: bytes = b""
    fault: str | None = None
    changed_ns: int = 0

    @property
    def is_whole(self) -> bool:
        try:
            msgspec.json.decode(self.data)
        except (ValueError, RecursionError):
            return False
        return True

    def tags(self) -> Mapping[str, object]:
        """Return what it says; raises ValueError."""
        if self.fault:
            raise ValueError(self.fault)
        try:
            found: Any = msgspec.json.decode(self.data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"no JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError("no object, as {} is")  # noqa: TRY004 - a file's
        return found


def sidecar_names(name: str) -> tuple[str, ...]:
    """Return the names that an image's sidecar may have, the first that is there being it.

    The last is the one that it is filed by: who puts an image back to have it classified anew brings both.
    """
    names = name + SIDECAR_SUFFIX, os.path.splitext(name)[0] + SIDECAR_SUFFIX, name + TAGS_SUFFIX
    return tuple(each for each in names if len(os.fsencode(each)) <= NAME_BYTES)


def tags_of(relative: str, sidecar: TagFile | None, pattern: str | None) -> Tagged:
    """Return what an image's name below its inbox says, and what its sidecar says on top of it."""
    if pattern is None and sidecar is None:
        return UNTAGGED
    told, faults = dict[str, object](), list[str]()
    if pattern is not None:
        searched = name_pattern(pattern)
        if found := searched.find(relative):
            told.update(found.groupdict())
        elif len(relative) > searched.longest:
            text = f"its path has {len(relative)} characters, and watch.name_pattern is searched for in up to"
            faults.append(f"{text} {searched.longest}")
        else:
            faults.append("its name does not match watch.name_pattern")
    if sidecar is not None:
        try:
            told.update(sidecar.tags())
        except ValueError as error:
            faults.append(f"{sidecar.name}: {error}")
    tags = dict(_flat(told, faults))
    captured = _captured(tags, faults)
    if len(faults) > _MOST_FAULTS:
        faults[_MOST_FAULTS:] = [f"and {len(faults) - _MOST_FAULTS} more of its tags"]
    return Tagged(tags, captured, tuple(faults))


def read_sidecar_of(folder: DropFolder, path: str) -> TagFile | None:
    """Return what lies beside an image, or None."""
    for name in sidecar_names(os.path.basename(path)):
        try:
            with folder.open_image(os.path.join(os.path.dirname(path), name)) as file:
                data = _unmarked(file.read(SIDECAR))
                return TagFile(as_text(name), data, changed_ns=file.stat.st_ctime_ns)
        except FileNotFoundError:
            continue
        except (ImageError, MachineError) as error:
            return TagFile(as_text(name), fault=str(error))
    return None


def _unmarked(data: bytes) -> bytes:
    """Return as UTF-8 what Windows begins with a byte order mark."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace").encode()
    return data.removeprefix(codecs.BOM_UTF8)


def _flat(told: Mapping[str, object], faults: list[str]) -> Iterator[tuple[str, Tag]]:
    """Yield what is a text, a number or true or false; null is as if it were not there."""
    given = {as_text(name): value for name, value in told.items() if value is not None}
    room = MOST_TAG_BYTES
    for count, (name, value) in enumerate(given.items()):
        if count == MOST_TAGS:
            faults.append(f"it has {len(given)} tags, of which {MOST_TAGS} are taken")
            return
        if (tag := _tag(name, value, faults)) is None:
            continue
        room -= len(as_json((name, tag)))
        if room < 0:
            faults.append(
                f"its tags have more than {MOST_TAG_BYTES:,} bytes, and {name} and others are left out"
            )
            return
        yield name, tag


def _tag(name: str, value: object, faults: list[str]) -> Tag | None:
    if len(name) > LONGEST_NAME:
        faults.append(f"the name of a tag is longer than {LONGEST_NAME} characters: {name[:20]}...")
        return None
    if isinstance(value, str) or (isinstance(value, int) and abs(value) >= 2**63):
        text = as_text(str(value)[: LONGEST_TEXT + 1])
        if len(text) > LONGEST_TEXT:
            faults.append(f"its tag {name} is cut to {LONGEST_TEXT} characters")
        return text[:LONGEST_TEXT]
    if isinstance(value, int | float):
        return value
    faults.append(f"its tag {name} is not text, a number, true or false, and is left out")
    return None


def _captured(tags: Mapping[str, Tag], faults: list[str]) -> str | None:
    said = tags.get(CAPTURED)
    if said is None:
        return None
    if (when := time_of(said)) is None:
        faults.append(f"its tag {CAPTURED} is not a date with a time: {said}")
    return when


def time_of(said: Tag) -> str | None:
    """Read a date with a time, ISO 8601 or digits in that order, or seconds since 1970; give ISO 8601 in UTC.

    Without an offset it is the machine's local time, as in EXIF. None where it is nothing of the kind.
    """
    try:
        if isinstance(said, bool):
            return None
        when = datetime.fromtimestamp(said, UTC) if isinstance(said, int | float) else _when(said.strip())
        when = when.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return when.isoformat(timespec="microseconds" if when.microsecond else "seconds")[:-6] + "Z"


def _when(text: str) -> datetime:
    digits = "".join(re.findall("[0-9]", text))
    if text.isdigit() and len(text) in _DIGITS:
        return datetime.fromtimestamp(int(text) / _DIGITS[len(text)], UTC)
    if len(digits) > len("20261128"):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    if len(digits) not in _LAYOUTS:
        raise ValueError(text)
    return datetime.strptime(digits, _LAYOUTS[len(digits)])  # noqa: DTZ007 - local time
