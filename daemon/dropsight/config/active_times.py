"""Times of day and days of the week, as people write them: "sunset-30m..sunrise+30m", "mon..fri"."""

import re
from typing import Literal, cast

import msgspec

Sun = Literal["sunrise", "sunset"]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_MOST_MINUTES = 12 * 60
_EDGE = r"(?:(\d{1,2}):(\d\d)|(sunrise|sunset)(?:([+-])(?:(\d{1,2})h)?(?:(\d{1,3})m(?:in)?)?)?)"
_SPAN = re.compile(rf"{_EDGE}(?:\.\.|-){_EDGE}")
_DAY = re.compile(rf"({'|'.join(DAYS)})[a-z]*")


class Edge(msgspec.Struct, frozen=True):
    """`minutes` from midnight, or from the sun's rise or set."""

    minutes: int
    sun: Sun | None = None

    def __str__(self) -> str:
        if self.sun is None:
            return f"{self.minutes // 60:02}:{self.minutes % 60:02}"
        if not self.minutes:
            return self.sun
        return f"{abs(self.minutes)} min {'after' if self.minutes > 0 else 'before'} {self.sun}"


class Span(msgspec.Struct, frozen=True):
    begin: Edge
    end: Edge

    def __str__(self) -> str:
        return f"from {self.begin} to {self.end}"

    @property
    def needs_sun(self) -> bool:
        return bool(self.begin.sun or self.end.sun)


def spans_in(text: str) -> tuple[Span, ...]:
    """Read one or more, with commas between; raises ValueError that says what is wrong with it."""
    return tuple(_span(part) for part in text.lower().replace(" ", "").split(","))


def days_in(text: str) -> frozenset[int]:
    """Read days and stretches of them, Monday being 0; raises ValueError."""
    found: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        ends = re.split(r"\.\.|-", part)
        if len(ends) > 2:
            raise ValueError(_no_days(part))
        first, last = _day(ends[0]), _day(ends[-1])
        found.update((first + step) % 7 for step in range((last - first) % 7 + 1))
    return frozenset(found)


def _span(text: str) -> Span:
    found = _SPAN.fullmatch(text)
    if not found:
        raise ValueError(
            f'has {text!r}, which is not a span of time; give it as "22:00-06:00" or "sunset-30m..sunrise"'
        )
    begin, end = _edge(*found.groups()[:6]), _edge(*found.groups()[6:])
    if begin == end:
        raise ValueError(f"begins and ends at {begin}; give another end, or leave it out for always")
    return Span(begin, end)


def _edge(
    hour: str | None,
    minute: str | None,
    sun: str | None,
    sign: str | None,
    hours: str | None,
    minutes: str | None,
) -> Edge:
    if sun is None:
        at = int(hour or 0) * 60 + int(minute or 0)
        if int(minute or 0) > 59 or at > _DAY_MINUTES:
            raise ValueError(f"has {hour}:{minute}, which is not a time of day; give one from 00:00 to 24:00")
        return Edge(at)
    if sign and not (hours or minutes):
        raise ValueError(f"has no number behind {sun}{sign}; give one such as {sun}{sign}30m")
    offset = int(hours or 0) * 60 + int(minutes or 0)
    if offset > _MOST_MINUTES:
        raise ValueError(f"is {offset} minutes away from {sun}; give at most {_MOST_MINUTES // 60} hours")
    return Edge(-offset if sign == "-" else offset, cast("Sun", sun))


def _day(text: str) -> int:
    found = _DAY.fullmatch(text)
    if not found:
        raise ValueError(_no_days(text))
    return DAYS.index(found[1])


def _no_days(text: str) -> str:
    return f'has {text!r}, which is not a day; give days as "mon..fri" or "sat, sun"'
