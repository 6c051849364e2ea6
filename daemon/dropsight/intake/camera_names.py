"""Which part of an image's path is the name of its camera."""

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

from dropsight.config.name_patterns import name_pattern

DEFAULT_CAMERA = "default"
Naming: TypeAlias = Callable[[str], str]
# As cameras and FTP servers name folders: 2026, 202611, 20261127, 2026-11-27, 2026_11, 20261127_12, and
# 2026Y11M27D12H.
_DATE = re.compile(r"(19|20)\d\d([-_.Y]?(0\d|1[0-2])M?([-_.]?[0-3]\dD?([-_.T]?[0-2]\dH?)?)?)?")
_PART_OF_DATE = re.compile(r"\d\d?")
_TWO_DIGITS = re.compile(r"[0-5]\d")


def naming(said: str | int | None) -> Naming:
    """Return what names the camera of a path below the inbox; see `watch[].camera`."""
    if said is None:
        return _by_folder(lambda folders: _first(_undated(folders)))
    if isinstance(said, int):
        return _by_folder(lambda folders: _first(folders[said - 1 :]))
    if "(" not in said:
        return lambda _: said
    pattern = name_pattern(said)

    def named(below: str) -> str:
        found = pattern.find(below)
        return (found and found[1]) or DEFAULT_CAMERA

    return named


def _by_folder(name: Callable[[Sequence[str]], str]) -> Naming:
    """All images of a folder have the same camera, and most come into the same few folders."""

    @lru_cache(maxsize=256)
    def named(folder: str) -> str:
        return name(folder.split(os.sep) if folder else [])

    return lambda below: named(below.rpartition(os.sep)[0])


def is_date(folders: str) -> bool:
    """Whether folders below the inbox name nothing but a date."""
    return not _undated(folders.split(os.sep))


def is_later(folder: str, other: str, *, above: str) -> bool:
    """Whether both name dates, or months, days, hours, minutes below one, and the first is later.

    `above` are the folders that both lie in.
    """
    is_below_date = any(map(_DATE.fullmatch, above.split(os.sep)))
    for kind in (_DATE, _TWO_DIGITS) if is_below_date else (_DATE,):
        if kind.fullmatch(folder) and kind.fullmatch(other):
            return _digits(folder) > _digits(other)
    return False


def _digits(name: str) -> int:
    return int("".join(filter(str.isdigit, name)))


def _first(folders: Sequence[str]) -> str:
    return folders[0] if folders else DEFAULT_CAMERA


def _undated(folders: Sequence[str]) -> Sequence[str]:
    """Leave out the date that folders begin with; other numbers are a part of one only behind it."""
    if not folders or not _DATE.fullmatch(folders[0]):
        return folders
    rest = folders[1:]
    while rest and (_PART_OF_DATE.fullmatch(rest[0]) or _DATE.fullmatch(rest[0])):
        rest = rest[1:]
    return rest
