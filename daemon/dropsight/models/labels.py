"""The names of the classes, from a text of any of the forms that people have, told by its content."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import TypeAlias

from dropsight.names import as_shown

Numbered: TypeAlias = tuple[int, str]

BACKGROUND = "background"
MOST_CLASSES = 200_000
"""Of a model, and names in a text: twice as many as the largest that are known."""
LONGEST_LABEL = 255
"""In characters: labels stand in every record."""
_NAMED = re.compile(r"(?P<index>\d{1,9})(?P<mark>\s*[:,\t]|\s)\s*(?P<name>.*\S)\s*", re.ASCII)
_ITEMS = re.compile(r"\s*(?:#[^\n]*\n\s*)*item\s*(?::\s*)?\{")
_ITEM = re.compile(r"\bitem\s*(?::\s*)?\{([^{}]*)\}")
_ID = re.compile(r"\bid\s*:\s*(\d{1,9})", re.ASCII)
_ITEM_NAMES = tuple(
    re.compile(rf"\b{key}\s*:\s*(?:\"([^\"\n]*)\"|'([^'\n]*)')") for key in ("display_name", "name")
)
# Headings of tables; those of names from the clearest on.
_INDEX_HEADINGS = {"index", "idx", "id", "class_id", "class_index", "label_id", "number", "class", "label"}
_NAME_HEADINGS = ("display_name", "class_name", "label_name", "name", "label", "labels", "class", "category")
_OTHER_HEADINGS = {"mid", "synset", "wnid", "color"}
_GROUP = "group"
_TOO_MANY = f"it has more than {MOST_CLASSES:,} names"
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")


def decoded(data: bytes) -> str:
    """Decode UTF-8 and UTF-16 by their marks, else UTF-8, else Latin-1; raises ValueError for no text."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        text = data.decode("utf-16")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
            if _CONTROLS.search(text):
                raise ValueError("it is not a text file") from None
    if "\0" in text:
        raise ValueError("it is not a text file")
    return text


def numbers_by_name(labels: Sequence[str]) -> dict[str, int]:
    """Return the classes' numbers by their labels, for `class_named`: of equal ones the first."""
    return {plain(label): number for number, label in reversed(list(enumerate(labels)))}


def class_named(name: str, numbers: Mapping[str, int], classes: int) -> int | None:
    """Return the class that a person calls so, by its label or its number."""
    known = numbers.get(plain(name))
    if known is None and _is_index(name) and int(name) < classes:
        return int(name)
    return known


def plain(label: str) -> str:
    """Case, spaces, hyphens and underscores are told apart by nobody."""
    return label.casefold().replace("_", " ").replace("-", " ").strip()


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return what was probably meant: what has all its words, its letters, or nearly its spelling."""
    names, words, letters = list(known), set(name.split()), sorted(name)
    found = [each for each in names if words and words <= set(each.split())]
    found = found or [each for each in names if sorted(each) == letters]
    return next(iter(found or get_close_matches(name, names, n=1, cutoff=0.8)), None)


def read_labels(text: str) -> tuple[str, ...]:
    """Read one name per line, in class order or by the index before each ("0 cat", "1: dog"), or a table.

    Tables are JSON (["cat", "dog"], {"0": "cat"}, {"cat": 0}), TensorFlow's label maps
    (item { id: 1 name: "cat" }; class 0 is the background), and CSV with headings, one of which may be
    `group`: see `read_groups`. Numbers with no more
    than a space behind them, that are no such indices, belong to the names ("7 up"). Signs that would
    act on a terminal stand as escapes.
    Raises ValueError for indices of which one is missing or there twice, and for too many or too long names.
    """
    text = text.lstrip("\ufeff")
    if text.count("\n") > 8 * MOST_CLASSES:  # no form has more lines for a name
        raise ValueError(_TOO_MANY)
    readers: tuple[Callable[[str], Sequence[str] | None], ...] = (_of_json, _of_items, _of_table)
    found = next((names for reader in readers if (names := reader(text)) is not None), None)
    names = tuple(map(as_shown, _of_lines(text) if found is None else found))
    if len(names) > MOST_CLASSES:
        raise ValueError(_TOO_MANY)
    for number, name in enumerate(names):
        if len(name) > LONGEST_LABEL:
            raise ValueError(f"the name of class {number} has more than {LONGEST_LABEL} characters")
    return names


def read_groups(text: str) -> tuple[str, ...]:
    """Read the group of each class, "" for none, of a table with such a column; else nothing."""
    columns = _columns(text.lstrip("\ufeff"))
    if not columns or _GROUP not in columns:
        return ()
    groups = [name.strip() for name in columns[_GROUP]]
    indices = _indices(columns)
    return tuple(map(as_shown, groups if indices is None else _in_order(zip(indices, groups, strict=True))))


def _of_json(text: str) -> Sequence[str] | None:
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except (json.JSONDecodeError, RecursionError):
        return None
    if isinstance(value, dict) and len(value) == 1:  # {"classes": [...]}
        (only,) = value.values()
        value = only if isinstance(only, list | dict) else value
    if isinstance(value, list):
        return _of_list(value)
    if not isinstance(value, dict):
        return None
    if all(isinstance(index, int) for index in value.values()):
        return _in_order((index, name) for name, index in value.items())
    if not all(name.isascii() and name.isdigit() for name in value):
        raise ValueError("its JSON has neither a number for each name nor a name for each number")
    return _in_order((int(index), _json_name(name)) for index, name in value.items())


def _of_list(values: list[object]) -> Sequence[str]:
    names = [_json_name(each) for each in values]
    indices = [each.get("id", each.get("index")) if isinstance(each, dict) else None for each in values]
    whole = [index for index in indices if isinstance(index, int)]
    return _in_order(zip(whole, names, strict=True)) if values and len(whole) == len(values) else names


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its JSON has a duplicate key")
    return found


def _json_name(value: object) -> str:
    """Of ["n01440764", "tench"], as ImageNet's index has it, the latter."""
    if isinstance(value, list) and value:
        value = value[-1]
    if isinstance(value, dict):
        value = next((value[key] for key in _NAME_HEADINGS if key in value), None)
    if not isinstance(value, str | int | float):
        raise ValueError("its JSON has values that are not names")  # noqa: TRY004 - the file's fault
    return str(value).strip()


def _of_items(text: str) -> Sequence[str] | None:
    if not _ITEMS.match(text):
        return None
    items: list[Numbered] = []
    for body in _ITEM.findall(text):
        index = _ID.search(body)
        names = (match for pattern in _ITEM_NAMES if (match := pattern.search(body)))
        name = next(((match[1] or match[2] or "").strip() for match in names), None)
        if index is None or name is None:
            raise ValueError("one of its items has no id or no name")
        items.append((int(index[1]), name))
    if items and all(index for index, _ in items):
        items.append((0, BACKGROUND))  # which label maps leave out
    return _in_order(items)


def _of_table(text: str) -> Sequence[str] | None:
    columns = _columns(text)
    if columns is None:
        return None
    indices = _indices(columns)
    names = next((columns[heading] for heading in _NAME_HEADINGS if heading in columns), None)
    if names is None:
        return None
    stripped = [name.strip() for name in names]
    return stripped if indices is None else _in_order(zip(indices, stripped, strict=True))


def _columns(text: str) -> dict[str, Sequence[str]] | None:
    """Return the columns of a table by their headings: with groups, also others than those that we know."""
    lines = [line for line in text.splitlines() if line.strip()]
    mark = next((mark for mark in ",;\t" if lines and mark in lines[0]), None)
    if mark is None:
        return None
    headings = [heading.strip().strip('"').lower().replace(" ", "_") for heading in lines[0].split(mark)]
    known = {*_INDEX_HEADINGS, *_NAME_HEADINGS, *_OTHER_HEADINGS}
    if not set(headings) & set(_NAME_HEADINGS) or not (set(headings) <= known or _GROUP in headings):
        return None
    try:
        rows = list(csv.reader(lines[1:], delimiter=mark))
    except csv.Error:
        return None
    if any(len(row) != len(headings) for row in rows):
        return None
    return dict(zip(headings, zip(*rows, strict=True), strict=True)) if rows else {}


def _indices(columns: dict[str, Sequence[str]]) -> list[int] | None:
    """Take the column of indices out, where there is one."""
    heading = next(
        (each for each in columns if each in _INDEX_HEADINGS and all(map(_is_index, columns[each]))), None
    )
    return None if heading is None else [int(each) for each in columns.pop(heading)]


def _is_index(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdigit() and len(text.strip()) < 10


def _of_lines(text: str) -> Sequence[str]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    found = [_NAMED.fullmatch(line) for line in lines if line]
    named = [(int(each["index"]), each["name"]) for each in found if each]
    if not named or len(named) != len(found):
        return lines
    indices = sorted(index for index, _ in named)
    if indices == list(range(len(named))) or all(each and each["mark"].strip(" ") for each in found):
        return _in_order(named)
    return lines


def _in_order(named: Iterable[Numbered]) -> list[str]:
    """Return the names by their indices; raises ValueError unless these are 0 to n-1."""
    ordered = sorted(named, key=lambda each: each[0])
    indices = [index for index, _ in ordered]
    if indices != list(range(len(ordered))):
        raise ValueError(_what_is_wrong(indices))
    return [name for _, name in ordered]


def _what_is_wrong(indices: list[int]) -> str:
    count = len(indices)
    twice = next((one for one, other in pairwise(indices) if one == other), None)
    if twice is not None:
        return f"index {twice} occurs twice"
    missing = next(wanted for wanted, index in enumerate(indices) if wanted != index)
    return f"no name has index {missing}; {count} names have the indices 0 to {count - 1}"
