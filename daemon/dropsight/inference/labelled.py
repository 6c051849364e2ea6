"""Labelled photos and clips: a folder with one sub-folder per class, named after its label or its number."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import msgspec

from dropsight.config import Video, Watch
from dropsight.errors import ConfigError
from dropsight.models.label_files import unnamed
from dropsight.models.labels import class_named, nearest_name, numbers_by_name, plain

PHOTOS = frozenset(pattern.removeprefix("*") for pattern in Watch().patterns)
CLIPS = frozenset(pattern.removeprefix("*") for pattern in Video().patterns)


class Labelled(msgspec.Struct, frozen=True):
    path: str
    class_index: int


def labelled(folder: Path, labels: Sequence[str], suffixes: AbstractSet[str] = PHOTOS) -> list[Labelled]:
    """List the files in order; raises ConfigError for a sub-folder that names no class, or no photos."""
    try:
        groups = sorted(each for each in folder.iterdir() if each.is_dir())
    except OSError as error:
        raise ConfigError([f"{folder}: cannot be read: {error.strerror}"]) from error
    numbers = numbers_by_name(labels)
    unknown = [group.name for group in groups if class_named(group.name, numbers, len(labels)) is None]
    if unknown:
        if tuple(labels) == unnamed(len(labels)):
            fault = "nothing says what the model's classes are called; put their names into labels.txt"
            raise ConfigError([f"{folder / unknown[0]}: {fault} beside it, or call the folders 0, 1, 2, ..."])
        raise ConfigError(
            [f"{folder / name}: not a class of the model; {_way_out(name, numbers)}" for name in unknown]
        )
    found = list(_files(groups, numbers, len(labels), suffixes))
    if not found:
        raise ConfigError([f"{folder}: no photos; give a folder with a sub-folder of photos for each class"])
    return found


def _way_out(name: str, numbers: Mapping[str, int]) -> str:
    nearest = nearest_name(plain(name), numbers)
    meant = f"did you mean {nearest}? " if nearest else ""
    return f"{meant}name it after a label or a number"


def _files(
    groups: Sequence[Path], numbers: dict[str, int], classes: int, suffixes: AbstractSet[str]
) -> Iterator[Labelled]:
    for group in groups:
        number = class_named(group.name, numbers, classes)
        for path in sorted(group.rglob("*")):
            if number is not None and path.suffix.lower() in suffixes and path.is_file():
                yield Labelled(str(path), number)
