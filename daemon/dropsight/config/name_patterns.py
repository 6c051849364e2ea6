"""Patterns that a name could keep busy: uploaders choose names, and a search holds up all threads."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

LONGEST_SEARCHED = 255
"""Characters; longer paths are as if the pattern did not describe them."""
# Three take up to 2 s of a PC for the worst name of that length, four twice that, nested ones for ever.
_MOST_OPEN, _FEW = 3, 4
_REPEATS = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}


def too_slow(pattern: str) -> str | None:
    """Return what of a valid pattern takes time without bounds for some names, or None."""
    found = list(_variable(import_module("re._parser").parse(pattern), within=1))
    if any(nested for nested, _ in found):
        return "repeats what is itself repeated or a choice, for which some names take hours"
    if sum(is_open for _, is_open in found) > _MOST_OPEN:
        return f"has more than {_MOST_OPEN} open repetitions, for which some names take minutes"
    return None


def _variable(parts: Iterable[Any], within: int) -> Iterator[tuple[bool, bool]]:
    """Yield of each part that can match in several ways, whether it is repeated, and whether it is open."""
    for code, value in parts:
        if str(code) in _REPEATS:
            least, most, body = value
            is_possessive = str(code) == "POSSESSIVE_REPEAT"
            if least != most and not is_possessive:
                yield within > _FEW or (within > 1 and most > _FEW), most > _FEW
            yield from _variable(body, max(within, int(most)))
        elif str(code) == "BRANCH":
            yield within > _FEW, False
            for branch in value[1]:
                yield from _variable(branch, within)
        elif str(code) == "ATOMIC_GROUP":
            yield from _variable(value, within)
        elif isinstance(value, tuple) and hasattr(value[-1], "data"):
            yield from _variable(value[-1], within)
