"""Patterns that a name could keep busy: uploaders choose names, and a search holds up all threads."""

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib import import_module
from itertools import combinations
from math import comb
from typing import Any, TypeAlias

import msgspec

LONGEST_SEARCHED = 255
"""Characters of a path."""
SHORTEST_SEARCHED = 48
"""A pattern that would take too many steps for paths of so many characters is refused."""
MOST_STEPS = 1_000_000
"""Of a search for the worst name: some ms of a PC's processor."""
# Repetitions of more are as good as open.
_FEW = 4
_ENDLESS = 10**6

Parts: TypeAlias = Iterable[tuple[Any, Any]]
Characters: TypeAlias = frozenset[int]
_ASCII, _OTHERS = 128, 256  # all beyond Latin-1 are one
_ALL, _NONE, _END = frozenset(range(_OTHERS + 1)), frozenset[int](), frozenset([-1])
_KINDS = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}


class TooSlowError(ValueError):
    """Its text says what of a pattern takes time without bounds for some names."""


class NamePattern(msgspec.Struct, frozen=True):
    """Searched for in paths of up to `longest` characters, so that no name takes more than MOST_STEPS."""

    compiled: re.Pattern[str]
    longest: int
    from_the_first: bool
    """Whether it begins with any number of any characters: where it is not found at once, it is nowhere."""

    def find(self, path: str) -> re.Match[str] | None:
        if len(path) > self.longest:
            return None
        return self.compiled.match(path) if self.from_the_first else self.compiled.search(path)


@lru_cache(maxsize=1_024)
def name_pattern(text: str) -> NamePattern:
    """Raises re.error, or TooSlowError of a pattern that some names would keep busy."""
    compiled = re.compile(text)
    parts = list(import_module("re._parser").parse(text))
    ways = _Ways(compiled)
    try:
        ways.follow(parts, _NONE, times=1)
    except RecursionError as error:
        raise TooSlowError("has too many nested brackets") from error
    from_the_first = not ways.refers_back and _begins_with_anything(parts)
    depth = ways.depth + (not from_the_first and not _is_anchored(compiled, parts))
    lengths = range(LONGEST_SEARCHED, SHORTEST_SEARCHED - 1, -1)
    found = (length for length in lengths if ways.each * comb(length + depth, depth) <= MOST_STEPS)
    if longest := next(found, None):
        return NamePattern(compiled, longest, from_the_first)
    raise TooSlowError("is ambiguous about where its parts end, which takes minutes to match for some names")


class _Ways:
    """In how many ways a path can be shared out among a pattern's parts, at the most.

    That is `each` times the ways to choose the ends of `depth` parts. Of a part that repeats nothing that may
    follow it, there is one end.
    """

    def __init__(self, compiled: re.Pattern[str]) -> None:
        # Anywhere, for all of it: to take more characters for the same is to find more ways.
        self._any_case = bool(compiled.flags & re.IGNORECASE or re.search(r"\(\?[a-zL-]*i", compiled.pattern))
        self.each, self.refers_back = 1, False
        self._ends, self._runs_on = 0, False

    @property
    def depth(self) -> int:
        """What runs on behind the last of the ends is gone through for each of them."""
        return self._ends + self._runs_on

    def follow(self, parts: Parts, after: Characters, *, times: int) -> None:
        """Count the ways of parts that stand there so many `times`, before what begins with `after`."""
        rest = list(parts)
        while rest:
            (code, value), *rest = rest
            behind = self._first(rest, after)
            match str(code):
                case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                    self._repeat(str(code), value, behind, times)
                case "BRANCH":
                    self._branch(value[1], behind, times)
                case "SUBPATTERN":
                    self.follow(value[-1], behind, times=times)
                case "ATOMIC_GROUP":
                    self.follow(value, _NONE, times=times)
                case "ASSERT" | "ASSERT_NOT":
                    self.follow(value[1], _NONE, times=times)
                case "GROUPREF_EXISTS":
                    self.refers_back = True
                    self._branch([value[1], value[2] or []], behind, times)
                case "GROUPREF" | "GROUPREF_IGNORE":
                    self.refers_back = self._runs_on = True

    def _repeat(self, code: str, value: tuple[Any, Any, Any], behind: Characters, times: int) -> None:
        least, most, body = int(value[0]), int(value[1]), value[2]
        again = self._first(body, _END)
        self.follow(body, again | behind, times=min(times * max(most, 1), _ENDLESS))
        if least == most:
            return
        if code == "POSSESSIVE_REPEAT" or not again & (behind | _END):
            self._runs_on = self._runs_on or most > _FEW
        elif most <= _FEW:
            self._several(most - least + 1, times)
        elif times > 1:
            raise _nested()
        else:
            self._ends, self._runs_on = self._ends + 1, False

    def _branch(self, branches: Sequence[Parts], behind: Characters, times: int) -> None:
        firsts = [self._first(branch, behind) for branch in branches]
        if any(one & other for one, other in combinations(firsts, 2)):
            self._several(len(branches), times)
        for branch in branches:
            self.follow(branch, behind, times=times)

    def _several(self, ways: int, times: int) -> None:
        if times > _FEW:
            raise _nested()
        self.each = min(self.each * ways**times, MOST_STEPS + 1)

    def _first(self, parts: Parts, after: Characters) -> Characters:
        """Return what may begin these parts, or what comes after them where they may be empty."""
        found = _NONE
        for code, value in parts:
            begins = self._begins(str(code), value)
            found |= begins - _END
            if not begins & _END:
                return found
        return found | after

    def _begins(self, code: str, value: Any) -> Characters:  # noqa: ANN401 - as the parser has it
        match code:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                return self._characters(code, value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self._first(value[2], _END) | (_NONE if value[0] else _END)
            case "SUBPATTERN" | "ATOMIC_GROUP":
                return self._first(value[-1] if code == "SUBPATTERN" else value, _END)
            case "BRANCH":
                return _NONE.union(*(self._first(each, _END) for each in value[1]))
            case "AT":
                return _END
        return _ALL | _END

    def _characters(self, code: str, value: Any) -> Characters:  # noqa: ANN401 - as the parser has it
        if code == "ANY":
            return _ALL
        said = value if code == "IN" else [("LITERAL", value)]
        found = _NONE.union(*(_told(str(kind), each) for kind, each in said))
        if self._any_case:
            found = _of_any_case(found)
        is_all_but = code == "NOT_LITERAL" or (code == "IN" and str(said[0][0]) == "NEGATE")
        return _all_but(found) if is_all_but else found


def _nested() -> TooSlowError:
    return TooSlowError("has nested repetition, which takes hours to match for some names")


def _told(kind: str, value: Any) -> Characters:  # noqa: ANN401 - as the parser has it
    match kind:
        case "LITERAL":
            return frozenset([min(value, _OTHERS)])
        case "RANGE":
            first, last = value
            return frozenset(range(first, min(last, _OTHERS) + 1)) or frozenset([_OTHERS])
        case "CATEGORY":
            name = str(value).removeprefix("CATEGORY_")
            return _kind(name.removeprefix("NOT_"), is_all_but=name.startswith("NOT_"))
    return _NONE


@cache
def _kind(name: str, *, is_all_but: bool) -> Characters:
    found = frozenset(code for code in range(_OTHERS) if re.match(_KINDS[name], chr(code))) | {_OTHERS}
    return _all_but(found) if is_all_but else found


def _all_but(found: Characters) -> Characters:
    """Beyond ASCII it is open what a flag makes of letters and digits."""
    return (_ALL - found) | frozenset(range(_ASCII, _OTHERS + 1))


def _of_any_case(found: Characters) -> Characters:
    more = {ord(other) for code in found if code < _OTHERS for other in chr(code).lower() + chr(code).upper()}
    letters = any(chr(code).isalpha() for code in found)
    return found | {min(code, _OTHERS) for code in more} | ({_OTHERS} if letters else _NONE)


def _begins_with_anything(parts: Parts) -> bool:
    code, value = _first_of(parts)
    if str(code) == "SUBPATTERN":
        return _begins_with_anything(value[-1])
    if str(code) not in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
        return False
    return value[1] >= _ENDLESS and [str(code) for code, _ in value[2]] == ["ANY"]


def _first_of(parts: Parts) -> tuple[Any, Any]:
    return next(iter(parts), ("", None))


def _is_anchored(compiled: re.Pattern[str], parts: Parts) -> bool:
    code, value = _first_of(parts)
    at = str(value) if str(code) == "AT" else ""
    return at == "AT_BEGINNING_STRING" or (at == "AT_BEGINNING" and not compiled.flags & re.MULTILINE)
