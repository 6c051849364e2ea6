"""Rules across the values of events: names, how many of how many, times of day, what leads where."""

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from dropsight.config.active_times import days_in, spans_in
from dropsight.config.event_keys import USUAL_CONFIDENCE, EventRule, Location
from dropsight.config.keys import Key, dotted
from dropsight.config.layers import Fault
from dropsight.config.tree import Config

MOST_EVENTS = 200
MOST_ANSWERS = 50
PROBLEMS, CAMERA_PROBLEM = ("broker", "disk"), "camera_"
"""What events of `problem_events` are called; those of cameras begin so."""
_CONFIRM = re.compile(r"([0-9]{1,9}) +of +([0-9]{1,9})( +on +average)?")


class Confirm(NamedTuple):
    """So many of so many answers; as sure as it takes all together, or else one of them."""

    wanted: int
    answers: int
    on_average: bool


def confirmed_by(text: str) -> Confirm:
    """Read "2 of 3" or "2 of 3 on average"; raises ValueError that says what is wrong with it."""
    found = _CONFIRM.fullmatch(text.strip())
    if not found:
        raise ValueError(f'is {text!r}; give how many of how many answers, such as "2 of 3"')
    wanted, answers = int(found[1]), int(found[2])
    if not 1 <= wanted <= answers:
        raise ValueError(f"asks for {wanted} of {answers}, which is impossible; give 1 or more of as many")
    if answers > MOST_ANSWERS:
        raise ValueError(f"looks at {answers} answers; give at most {MOST_ANSWERS}")
    return Confirm(wanted, answers, bool(found[3]))


def broken_events(config: Config) -> Iterator[Fault]:
    rules = config.events
    if len(rules) > MOST_EVENTS:
        yield Fault(("events",), f"are {len(rules)}; give at most {MOST_EVENTS}")
        return
    first: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if not rule:  # it lacks a key, which was told
            continue
        above = ("events", str(index))
        if (other := first.setdefault(rule.name, index)) != index:
            yield Fault(
                (*above, "name"), f"is that of {dotted(('events', str(other), 'name'))}; give each its own"
            )
        yield from _read((*above, "confirm"), confirmed_by, rule.confirm)
        yield from _labels(above, rule)
        yield from _regions(above, rule, config)
        yield from _times(above, rule, config.location)
        yield from _told(above, rule.notify, config)
    yield from _unless(rules)
    yield from _problems(config)
    if config.location and config.location.time_zone is not None:
        yield from _time_zone(config.location.time_zone)


def _read(key: Key, reader: Callable[[str], object], text: str | None) -> Iterator[Fault]:
    if text is not None:
        try:
            reader(text)
        except ValueError as error:
            yield Fault(key, str(error))


def _labels(above: Key, rule: EventRule) -> Iterator[Fault]:
    for number, label in enumerate(rule.labels):
        if not label.strip() or label == "group:":
            yield Fault((*above, "labels", str(number)), "is empty; give a label, a pattern or group:NAME")
    for pattern in rule.confidence:
        if pattern != "*" and not any(_may_meet(pattern, label) for label in rule.labels):
            close = get_close_matches(pattern, rule.labels, n=1)
            way_out = f"did you mean {close[0]}?" if close else "give one of them, or * for all others"
            yield Fault((*above, "confidence", pattern), f"is not one of the labels of this event; {way_out}")
    if rule.keep is not None and rule.keep > max({"*": USUAL_CONFIDENCE, **rule.confidence}.values()):
        yield Fault(
            (*above, "keep"), f"is {rule.keep:g}, above the confidence that begins it; give at most that"
        )


def _regions(above: Key, rule: EventRule, config: Config) -> Iterator[Fault]:
    known = {name for sight in config.cameras.by_name.values() for name in sight.crops}
    for number, region in enumerate(rule.regions):
        if region not in known:
            close = get_close_matches(region, known, n=1)
            way_out = f"did you mean {close[0]}?" if close else "define it in cameras.NAME.crops"
            text = f"{region} is not a region of any camera; {way_out}"
            yield Fault((*above, "regions", str(number)), text, also=(("cameras",),))


def _may_meet(one: str, other: str) -> bool:
    one, other = one.casefold(), other.casefold()
    return fnmatchcase(one, other) or fnmatchcase(other, one) or ("*" in one and "*" in other)


def _times(above: Key, rule: EventRule, location: Location | None) -> Iterator[Fault]:
    yield from _read((*above, "active"), spans_in, rule.active)
    yield from _read((*above, "days"), days_in, rule.days)
    if rule.active and location is None and ("sunrise" in rule.active or "sunset" in rule.active):
        text = "depends on sunrise or sunset; give location.latitude and location.longitude"
        yield Fault((*above, "active"), text, also=(("location",),))


def _told(above: Key, names: Sequence[str], config: Config) -> Iterator[Fault]:
    for name in names:
        if name in config.notify:
            continue
        close = get_close_matches(name, config.notify, n=1)
        way_out = f"did you mean {close[0]}?" if close else f"give notify.{name}.targets_file"
        yield Fault(
            (*above, "notify"),
            f"names {name}, which is not a target in notify; {way_out}",
            also=(("notify",),),
        )


def _problems(config: Config) -> Iterator[Fault]:
    if config.problem_events is None:
        return
    yield from _told(("problem_events",), config.problem_events.notify, config)
    for index, rule in enumerate(config.events):
        if rule and (rule.name in PROBLEMS or rule.name.startswith(CAMERA_PROBLEM)):
            text = f"is {rule.name}, the name of a problem event; give another"
            yield Fault(("events", str(index), "name"), text, also=(("problem_events",),))


def _unless(rules: Sequence[EventRule]) -> Iterator[Fault]:
    whole = [rule for rule in rules if rule]
    leads = {rule.name: rule.unless.event for rule in whole if rule.unless}
    names = [rule.name for rule in whole]
    for index, rule in enumerate(rules):
        if not rule or rule.unless is None:
            continue
        key = ("events", str(index), "unless", "event")
        if rule.unless.event not in names:
            close = get_close_matches(rule.unless.event, names, n=1)
            way_out = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
            yield Fault(key, f"names no event; {way_out}")
        elif (way := _way_from(rule.name, leads))[-1] == rule.name:
            yield Fault(key, f"is circular ({', '.join(way)}); leave one of them out")


def _way_from(name: str, leads: dict[str, str]) -> list[str]:
    way = [name]
    while (following := leads.get(way[-1])) is not None:
        way.append(following)
        if following in way[:-1]:
            break
    return way


def _time_zone(name: str) -> Iterator[Fault]:
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        close = get_close_matches(name, available_timezones(), n=1)
        way_out = f"did you mean {close[0]}?" if close else "give one such as Europe/Berlin, or null"
        yield Fault(
            ("location", "time_zone"), f"{name!r} is not a time zone that this machine knows; {way_out}"
        )
