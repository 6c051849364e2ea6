"""When a rule is active: times of day, days of the week, the sun."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from dropsight.config.active_times import DAYS, Edge, Span
from dropsight.config.event_keys import Location
from dropsight.events.sun import rise_and_set

_WHOLE_DAY = Span(Edge(0), Edge(24 * 60))
_YEARS = range(2, 9999)
# A stretch may begin half a day before its day, by the sun, and end half a day after the next.
_DAYS_AROUND = range(-1, 3)
# Any year does: the sun repeats itself.
_YEAR = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]


class Hours:
    """Whether a time is in one of the stretches, of which each is of the day on which it begins.

    A stretch from a time of day to the sun, or the other way round, whose end comes first on every day of a
    year ends on the next day; where it does on some days only, there is none on those.
    """

    def __init__(self, spans: Sequence[Span], days: frozenset[int] | None, location: Location | None) -> None:
        self._spans = tuple(spans) or (_WHOLE_DAY,)
        self._days, self._location = days, location
        zone = location.time_zone if location else None
        self._zone: tzinfo | None = ZoneInfo(zone) if zone is not None else None
        self._stretches = lru_cache(maxsize=64)(self._stretches_of)
        self._turned = lru_cache(maxsize=None)(self._days_turned)

    def __call__(self, at: float) -> bool:
        try:
            today = datetime.fromtimestamp(at, self._zone).date()
        except (ValueError, OverflowError, OSError):
            return False
        if today.year not in _YEARS:
            return False
        days = (today - timedelta(days=back) for back in _DAYS_AROUND)
        return any(begin <= at < end for day in days for begin, end in self._stretches(day))

    def __str__(self) -> str:
        days = "" if self._days is None else f" on {', '.join(DAYS[day] for day in sorted(self._days))}"
        if self._spans == (_WHOLE_DAY,):
            return days.strip() or "always"
        return f"{' and '.join(map(self._said, self._spans))}{days}"

    def _said(self, span: Span) -> str:
        if _is_over_night(span) is not None or not 0 < (turned := self._turned(span)) < len(_YEAR):
            return str(span)
        return f"{span} (not at all while {span.end} is before {span.begin}, {turned} days a year)"

    def _stretches_of(self, day: date) -> list[tuple[float, float]]:
        if self._days is not None and day.weekday() not in self._days:
            return []
        found = []
        for span in self._spans:
            begin, end = self._instant(span.begin, day), self._instant(span.end, day)
            if self._ends_on_the_next_day(span):
                end = self._instant(span.end, day + timedelta(days=1))
            found.append((begin, end))
        return found

    def _ends_on_the_next_day(self, span: Span) -> bool:
        over = _is_over_night(span)
        return self._turned(span) == len(_YEAR) if over is None else over

    def _days_turned(self, span: Span) -> int:
        """Return on how many days of a year its end comes first."""
        return sum(self._instant(span.end, day) <= self._instant(span.begin, day) for day in _YEAR)

    def _instant(self, edge: Edge, day: date) -> float:
        if edge.sun is None or self._location is None:
            return self._clock(day, edge.minutes)
        rise, fall = rise_and_set(
            self._location.latitude, self._location.longitude, self._clock(day, 12 * 60)
        )
        return (rise if edge.sun == "sunrise" else fall) + edge.minutes * 60.0

    def _clock(self, day: date, minutes: int) -> float:
        more, minute = divmod(minutes, 24 * 60)
        at = datetime.combine(day + timedelta(days=more), time(minute // 60, minute % 60), self._zone)
        return at.timestamp()


def _is_over_night(span: Span) -> bool | None:
    """Return whether it ends on the day after; None where that goes by when the sun rises or sets there.

    The order of instants does not tell of others: a clock may skip the hour in which a stretch begins, and
    in a polar night, where the sun rises and sets at once, "sunset-30m" is before "sunrise+30m".
    """
    begin, end = span.begin, span.end
    if begin.sun == end.sun:
        return end.minutes <= begin.minutes
    return begin.sun == "sunset" if begin.sun and end.sun else None
