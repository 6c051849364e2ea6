"""The names of the classes, from a text with one line per class."""

import re
from itertools import pairwise

from dropsight.names import as_shown

_NAMED = re.compile(r"\s*(?P<index>\d{1,9})(?P<mark>\s*[:,\t]|\s)\s*(?P<name>.*\S)\s*", re.ASCII)


def read_labels(text: str) -> tuple[str, ...]:
    """Read one name per line, in class order, or by the index before each name ("0 cat", "1: dog").

    Numbers with no more than a space behind them, that are no such indices, belong to the names ("7 up").
    Signs that would act on a terminal stand as escapes. Raises ValueError for indices of which one is missing
    or there twice.
    """
    return tuple(map(as_shown, _names(text)))


def _names(text: str) -> tuple[str, ...]:
    lines = text.lstrip("\ufeff").rstrip().splitlines()
    found = [_NAMED.fullmatch(line) for line in lines if line.strip()]
    named = [(int(each["index"]), each["name"]) for each in found if each]
    if not named or len(named) != len(found):
        return tuple(line.strip() for line in lines)
    indices = sorted(index for index, _ in named)
    if indices == list(range(len(named))):
        return tuple(name for _, name in sorted(named))
    if all(each and each["mark"].strip(" ") for each in found):
        raise ValueError(_what_is_wrong(indices))
    return tuple(line.strip() for line in lines)


def _what_is_wrong(indices: list[int]) -> str:
    count = len(indices)
    twice = next((one for one, other in pairwise(indices) if one == other), None)
    if twice is not None:
        return f"index {twice} occurs twice"
    missing = next(wanted for wanted, index in enumerate(indices) if wanted != index)
    return f"no name has index {missing}; {count} names have the indices 0 to {count - 1}"
