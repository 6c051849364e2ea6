"""Rules out of the config, in words, and what of them the model does not know."""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from dropsight.config import Config, EventRule, Location
from dropsight.config.active_times import days_in, spans_in
from dropsight.config.event_rules import confirmed_by
from dropsight.events.hours import Hours
from dropsight.events.rule import Rule, names
from dropsight.events.sighting import GROUP
from dropsight.models.labels import nearest_name

# There the longest day has no night, with the refraction of the air.
_POLAR_CIRCLE = 65.7
_FEW = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def compile_rules(config: Config) -> list[Rule]:
    """Return what the config's checks have let through."""
    return [_rule(each, config.location) for each in config.events]


def _rule(said: EventRule, location: Location | None) -> Rule:
    hours, confirm = None, confirmed_by(said.confirm)
    if said.active or said.days:
        days = days_in(said.days) if said.days else None
        hours = Hours(spans_in(said.active) if said.active else (), days, location)
    return Rule(
        name=said.name,
        labels=said.labels,
        cameras=said.cameras,
        confidence=said.confidence,
        confirm=confirm[:2],
        on_average=confirm.on_average,
        within=said.within_seconds,
        keep=said.keep,
        end_after=said.end_after_seconds,
        cooldown=said.cooldown_seconds,
        renotify_above=said.renotify_above,
        active=hours,
        tags=said.tags,
        unless=(said.unless.event, said.unless.within_seconds) if said.unless else None,
        notify=said.notify,
        regions=said.regions,
    )


def strangers(rules: Sequence[EventRule], labels: Sequence[str], *, groups: Sequence[str]) -> Iterator[str]:
    """Yield a line for each label, pattern or group that nothing of the model is, by its key."""
    known = [*labels, *(f"{GROUP}{name}" for name in groups)]
    for index, rule in enumerate(rules):
        for number, pattern in enumerate(rule.labels):
            if not any(names(pattern, label) for label in known):
                yield f"events.{index}.labels.{number}: {_stranger(pattern, labels, groups)}"


def _stranger(pattern: str, labels: Sequence[str], groups: Sequence[str]) -> str:
    if pattern.startswith(GROUP) and not groups:
        return f"there is no {pattern}: the config turns groups off, or the model has none"
    name, is_group = pattern.removeprefix(GROUP), pattern.startswith(GROUP)
    meant = {label.casefold(): label for label in (() if is_group else labels)}
    meant |= {each.casefold(): f"{GROUP}{each}" for each in groups}
    text = f"the model has no {'group' if is_group else 'label'} {name}"
    if close := nearest_name(name.casefold(), sorted(meant, key=len)):
        return f"{text}; did you mean {meant[close]}?"
    return f"{text}; `dropsight inspect` lists its groups, with --json its labels, too"


def findings(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of the rules, each with "ok" or "warn"."""
    for rule in compile_rules(config):
        yield "ok", f"{rule.name}: {in_words(rule)}"
    for doubt in doubts(config):
        yield "warn", doubt


def doubts(config: Config) -> Iterator[str]:
    """Yield a line for what rules wait for in vain, as far as the config tells, and for polar days."""
    known = _tags_known(config)
    for index, rule in enumerate(compile_rules(config)):
        for tag in () if known is None else sorted(rule.tags.keys() - known):
            yield f"events.{index}.tags.{tag}: {_no_such_tag(tag, known or ())}"
        watched = [sight for name, sight in config.cameras.by_name.items() if rule.watches(name)]
        for number, region in enumerate(rule.regions):
            if not any(region in sight.crops for sight in watched):
                text = f"no camera that this event looks at has a region {region}"
                yield f"events.{index}.regions.{number}: {text}; check its cameras, and cameras.NAME.crops"
    if doubt := polar(config.location, config.events):
        yield doubt


def _tags_known(config: Config) -> frozenset[str] | None:
    """Return those that names may bring; None where sidecars may bring any."""
    if any(watch.sidecar_wait_seconds is not None for watch in config.watch):
        return None
    patterns = (watch.name_pattern for watch in config.watch)
    return frozenset(name for each in patterns if each is not None for name in re.compile(each).groupindex)


def _no_such_tag(tag: str, known: Iterable[str]) -> str:
    close = get_close_matches(tag, known, n=1)
    way_out = f"did you mean {close[0]}?" if close else "give one, or sidecar_wait_seconds for sidecars"
    return f"no watch[].name_pattern has a group of that name, so this event never begins; {way_out}"


def polar(location: Location | None, rules: Sequence[EventRule]) -> str | None:
    """Say what rules that go by the sun do where it does not rise or set on some days."""
    if location is None or abs(location.latitude) <= _POLAR_CIRCLE:
        return None
    if not any(span.needs_sun for rule in rules if rule.active for span in spans_in(rule.active)):
        return None
    return (
        f"at latitude {location.latitude:g} there are days on which the sun does not rise or not set: "
        "it then counts as risen and set at noon, or as risen half a day before noon and set half a day after"
    )


def in_words(rule: Rule) -> str:
    """Say what a rule does, in a sentence."""
    others = _others(rule)
    parts = [f"{_confirmed(rule)} {_what(rule)}{others}{_where(rule)}", _goes_on(rule, others)]
    if rule.active:
        parts.append(f"begins only {rule.active}")
    if rule.unless:
        parts.append(f"does not begin within {spoken(rule.unless[1])} of {rule.unless[0]}")
    return f"{'; '.join(parts)}; {_tells(rule)}"


def _confirmed(rule: Rule) -> str:
    wanted, answers = rule.confirm
    if answers == 1:
        return "one answer that says"
    if wanted == answers:
        return f"{_number(wanted)} answers in a row within {spoken(rule.within)} that say"
    return f"{_number(wanted)} of {_number(answers)} answers within {spoken(rule.within)} that say"


def _others(rule: Rule) -> str:
    """Say what the answers need that only confirm."""
    surest = max(rule.sure(label) for label in rule.labels)
    if rule.confirm[0] == 1 or (rule.keep is not None and rule.keep >= surest):
        return ""
    if rule.on_average:
        return f", none less than {'half of that' if rule.keep is None else f'{rule.keep:g}'}"
    return f", of which all but one need only {_kept(rule)}"


def _what(rule: Rule) -> str:
    sure: dict[float, list[str]] = {}
    others = [label for label in rule.confidence if label != "*" and label not in rule.labels]
    for label in (*rule.labels, *others):
        sure.setdefault(rule.sure(label), []).append(label)
    average = " on average" if rule.on_average and rule.confirm[0] > 1 else ""
    return ", or ".join(
        f"{' or '.join(found)} ({least:g} or surer{average})" for least, found in sure.items()
    )


def _where(rule: Rule) -> str:
    cameras = "each camera by itself" if rule.cameras == ("*",) else f"camera {' or '.join(rule.cameras)}"
    where = f", {cameras}"
    if rule.regions:
        where += f", in {' or '.join(rule.regions)}"
    if rule.tags:
        where += f", with {' and '.join(f'{name} {value}' for name, value in rule.tags.items())}"
    return where


def _goes_on(rule: Rule, others: str) -> str:
    kept = "as much" if others and not (rule.on_average and rule.keep is None) else _kept(rule)
    return f"goes on with {kept}, ends {spoken(rule.end_after)} after the last"


def _kept(rule: Rule) -> str:
    return "three quarters of that" if rule.keep is None else f"{rule.keep:g}"


def _tells(rule: Rule) -> str:
    if not rule.notify:
        return "nobody is told"
    told = f"tells {', '.join(rule.notify)}"
    if rule.cooldown:
        told += f", not again within {spoken(rule.cooldown)}"
    if rule.renotify_above:
        told += f", but once more above {' and '.join(f'{each:g}' for each in sorted(rule.renotify_above))}"
    return told


def _number(number: int) -> str:
    return _FEW[number] if number < len(_FEW) else str(number)


def spoken(seconds: float) -> str:
    """Write a length of time with one unit, where it comes out even."""
    for unit, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit and not seconds % unit:
            count = int(seconds // unit)
            return f"a{'n' if name == 'hour' else ''} {name}" if count == 1 else f"{count} {name}s"
    return f"{seconds:g} seconds" if seconds != 1 else "a second"
