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


class Hours:
    """Whether a time is in one of the stretches, of which each is of the day on which it begins."""

    def __init__(self, spans: Sequence[Span], days: frozenset[int] | None, location: Location | None) -> None:
        self._spans = tuple(spans) or (_WHOLE_DAY,)
        self._days, self._location = days, location
        zone = location.time_zone if location else None
        self._zone: tzinfo | None = ZoneInfo(zone) if zone is not None else None
        self._stretches = lru_cache(maxsize=64)(self._stretches_of)

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
        return f"{' and '.join(map(str, self._spans))}{days}"

    def _stretches_of(self, day: date) -> list[tuple[float, float]]:
        if self._days is not None and day.weekday() not in self._days:
            return []
        found = []
        for span in self._spans:
            begin, end = self._instant(span.begin, day), self._instant(span.end, day)
            if end <= begin if (over := _is_over_night(span)) is None else over:
                end = self._instant(span.end, day + timedelta(days=1))
            found.append((begin, end))
        return found

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
    """Return whether it ends on the day after; None where that goes by when the sun rises or sets that day.

    The order of instants does not tell of others: a clock may skip the hour in which a stretch begins, and
    in a polar night, where the sun rises and sets at once, "sunset-30m" is before "sunrise+30m".
    """
    begin, end = span.begin, span.end
    if begin.sun == end.sun:
        return end.minutes <= begin.minutes
    return begin.sun == "sunset" if begin.sun and end.sun else None
