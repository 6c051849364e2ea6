"""Spans from a time of day to the sun, or from the sun to a time of day, over a year in several places."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from dropsight.config import load
from dropsight.config.active_times import spans_in
from dropsight.config.event_keys import Location
from dropsight.events.compiling import findings
from dropsight.events.hours import Hours
from dropsight.events.sun import rise_and_set

QUITO, CAIRO = Location(-0.2, -78.5, "America/Guayaquil"), Location(30.0, 31.2, "Africa/Cairo")
BERLIN, SYDNEY = Location(52.5, 13.4, "Europe/Berlin"), Location(-33.9, 151.2, "Australia/Sydney")
HELSINKI, TROMSO = Location(60.2, 24.9, "Europe/Helsinki"), Location(69.65, 18.96, "Europe/Oslo")
PLACES = {
    "Quito": QUITO,
    "Cairo": CAIRO,
    "Berlin": BERLIN,
    "Sydney": SYDNEY,
    "Helsinki": HELSINKI,
    "Tromso": TROMSO,
}


class Moment(NamedTuple):
    """A time, with what the sun does on that day and the day before."""

    at: datetime
    rise: datetime
    fall: datetime
    fall_before: datetime

    def clock(self, hour: int) -> datetime:
        return self.at.replace(hour=hour, minute=0)


def moments(place: Location) -> Iterator[Moment]:
    """Every half hour of every fifth day."""
    zone = ZoneInfo(str(place.time_zone))

    def sun(day: datetime) -> tuple[datetime, datetime]:
        rise, fall = rise_and_set(place.latitude, place.longitude, day.timestamp())
        return datetime.fromtimestamp(rise, zone), datetime.fromtimestamp(fall, zone)

    for number in range(0, 365, 5):
        noon = datetime(2027, 1, 1, 12, tzinfo=zone) + timedelta(days=number)
        (rise, fall), (_, before) = sun(noon), sun(noon - timedelta(days=1))
        for half_hours in range(48):
            at = noon.replace(hour=half_hours // 2, minute=30 * (half_hours % 2))
            yield Moment(at, rise, fall, before)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("span", "is_active"),
    [
        ("06:00..sunrise", lambda now: now.clock(6) <= now.at < now.rise),
        ("sunset..20:00", lambda now: now.fall <= now.at < now.clock(20)),
        ("sunrise..12:00", lambda now: now.rise <= now.at < now.clock(12)),
        ("13:00..sunset", lambda now: now.clock(13) <= now.at < now.fall or now.at < now.fall_before),
    ],
)
def test_a_span_of_a_morning_or_an_evening_is_none_while_its_end_is_before_its_beginning(
    place: str, span: str, is_active: Callable[[Moment], bool]
) -> None:
    """Not its complement, as from 06:00 to the next sunrise. In a polar day the sun sets after midnight."""
    hours = Hours(spans_in(span), None, PLACES[place])
    wrong = [now for now in moments(PLACES[place]) if hours(now.at.timestamp()) != is_active(now)]
    assert wrong == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("span", "is_active"),
    [
        ("sunset..06:00", lambda now: now.at >= now.fall or now.fall_before <= now.at < now.clock(6)),
        ("sunset-1h..00:00", lambda now: now.at >= now.fall - timedelta(hours=1)),
        ("23:00..sunrise", lambda now: now.at < now.rise or now.at >= now.clock(23)),
        (
            "sunset+8h..09:00",
            lambda now: (
                now.at >= now.fall + timedelta(hours=8)
                or now.fall_before + timedelta(hours=8) <= now.at < now.clock(9)
            ),
        ),
    ],
)
def test_a_night_is_one_on_every_day_of_the_year(
    place: str, span: str, is_active: Callable[[Moment], bool]
) -> None:
    """Where the sun does not set, it does so half a day after noon."""
    hours = Hours(spans_in(span), None, PLACES[place])
    wrong = [now for now in moments(PLACES[place]) if hours(now.at.timestamp()) != is_active(now)]
    assert wrong == []


def test_it_is_said_on_how_many_days_there_is_none() -> None:
    def said(active: str, place: Location) -> str:
        return str(Hours(spans_in(active), None, place))

    noons = [
        datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")) + timedelta(days=day) for day in range(365)
    ]
    rises = [rise_and_set(52.5, 13.4, noon.timestamp())[0] for noon in noons]
    early = sum(rise <= noon.replace(hour=6).timestamp() for rise, noon in zip(rises, noons, strict=True))
    assert said("06:00..sunrise", BERLIN) == (
        f"from 06:00 to sunrise (not at all while sunrise is before 06:00, {early} days a year)"
    )
    assert 110 < early < 150, "from late in April to late in August"
    assert said("22:00..sunrise, sunset..6:00", BERLIN) == "from 22:00 to sunrise and from sunset to 06:00"
    assert said("08:00..sunset", BERLIN) == "from 08:00 to sunset"


def test_check_says_so_of_a_rule(tmp_path: Path) -> None:
    file = tmp_path / "dropsight.yaml"
    file.write_text(
        "location: {latitude: 60.2, longitude: 24.9, time_zone: Europe/Helsinki}\n"
        'events: [{name: fox, labels: [fox], active: "sunset..22:00"}]\n'
    )
    ((mark, said),) = findings(load(file))
    assert mark == "ok"
    assert "begins only from sunset to 22:00 (not at all while 22:00 is before sunset, " in said
