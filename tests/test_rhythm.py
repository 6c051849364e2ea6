"""How long a camera may be silent: simulated weeks of the cameras that people have."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropsight.cameras.rhythm import FACTOR, REMEMBERED_DAYS, SHORTEST_LIMIT_SECONDS, Rhythm

HOUR, DAY = 3_600.0, 86_400.0


def every(
    seconds: float, *, until: float, days: range = range(7), hours: range = range(24)
) -> Iterator[float]:
    """Times of a timelapse that may rest at night or at weekends."""
    time = 0.0
    while time < until:
        if int(time // DAY) % 7 in days and int(time % DAY // HOUR) in hours:
            yield time
        time += seconds


def by_motion(
    chance: random.Random, *, until: float, an_hour: float, days: range = range(7)
) -> Iterator[float]:
    """Bursts of pictures at exponential distances, by day only."""
    time = 0.0
    while time < until:
        time += chance.expovariate(an_hour / HOUR)
        if int(time // DAY) % 7 in days and 6 <= time % DAY // HOUR < 22:
            yield from (time + 0.5 * number for number in range(chance.randint(1, 6)))


def alarms(times: Iterator[float]) -> list[float]:
    """When a camera with these images would have been called silent while it was not."""
    rhythm, found, last = Rhythm(), [], None
    for time in times:
        if last is not None and time > last:
            limit = rhythm.limit_seconds()
            if limit is not None and time - last > limit:
                found.append(last + limit)
            rhythm.learn(time - last, day=int(time // DAY))
        last = time if last is None else max(time, last)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_a_motion_camera_never_cries_wolf_in_two_months(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a simulation
    assert alarms(by_motion(chance, until=60 * DAY, an_hour=chance.choice([0.3, 1, 5, 30]))) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_camera_in_an_office_does_not_miss_its_people_at_weekends(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a simulation
    assert alarms(by_motion(chance, until=60 * DAY, an_hour=6, days=range(5))) == []


def test_a_timelapse_that_rests_at_night_or_at_weekends_is_no_alarm() -> None:
    assert alarms(every(600, until=60 * DAY, hours=range(7, 19))) == []
    assert alarms(every(600, until=60 * DAY, hours=range(7, 19), days=range(5))) == []
    assert alarms(every(DAY, until=60 * DAY)) == []


def limit_of(times: Iterator[float]) -> float | None:
    rhythm, last = Rhythm(), 0.0
    for time in times:
        if time > last:
            rhythm.learn(time - last, day=int(time // DAY))
        last = time
    return rhythm.limit_seconds()


def test_a_steady_camera_is_known_after_some_days_and_missed_within_minutes() -> None:
    assert limit_of(every(60, until=2 * DAY)) is None
    assert limit_of(every(60, until=4 * DAY)) == SHORTEST_LIMIT_SECONDS
    assert limit_of(every(1_200, until=4 * DAY)) == FACTOR * 1_200


def test_a_single_outage_teaches_nothing() -> None:
    outage = (time for time in every(60, until=10 * DAY) if not 5 * DAY < time < 5.5 * DAY)
    assert limit_of(outage) == SHORTEST_LIMIT_SECONDS


def test_a_folder_for_a_day_is_never_missed() -> None:
    """Where folders are named by date, each is a camera that falls silent at midnight."""
    assert limit_of(time for time in every(30, until=DAY)) is None


@given(st.lists(st.tuples(st.floats(0, 1e7, allow_nan=False), st.integers(-5, 40)), min_size=1, max_size=400))
def test_whatever_is_learned_a_limit_is_no_trap_and_memory_is_bounded(gaps: list[tuple[float, int]]) -> None:
    rhythm = Rhythm()
    for gap, day in gaps:
        rhythm.learn(gap, day=day)
    limit = rhythm.limit_seconds()
    assert len(rhythm.days) <= REMEMBERED_DAYS
    if limit is not None:
        usual = sorted(day.longest for day in rhythm.days)[-2]
        assert limit >= max(SHORTEST_LIMIT_SECONDS, FACTOR * usual)
