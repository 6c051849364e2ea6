"""`dropsight check --replay`: what the event rules would have told, had they seen these logs."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from dropsight.commands.verdicts import say
from dropsight.config import Config
from dropsight.errors import ConfigError, DropsightError, reason
from dropsight.events.compiling import compile_rules, doubts, in_words, spoken
from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import sighting_of
from dropsight.events.state import Best
from dropsight.events.turn import Change
from dropsight.journal.log_files import backup_files, lines_of
from dropsight.names import as_shown
from dropsight.records import Result, decode, local_time

_ROTATED = re.compile(r"(.*)\.(\d+)(\.gz)?")
_HEADINGS = ("event", "camera", "start", "duration", "answers", "best", "told")
_MOST_NAMED = 10
_TO_THE_RIGHT = {"duration", "answers"}


class ReplayedEvent(msgspec.Struct, frozen=True):
    """`told` is how often each target was."""

    id: str
    name: str
    camera: str
    started: str
    ended: str | None
    duration_seconds: float | None
    count: int
    best: Best
    region: str | None
    told: dict[str, int]


class ReplayedRule(msgspec.Struct, frozen=True):
    """`sure_answers` are those that may begin an event; `told` is how often people were."""

    name: str
    in_words: str
    sure_answers: int
    events: int
    told: int


class Replay(msgspec.Struct, frozen=True):
    """`without_answers` are the records that failed, expired or are of bursts; `warnings` are about rules."""

    events: list[ReplayedEvent]
    rules: list[ReplayedRule]
    records: int
    without_answers: int
    told: int
    warnings: list[str]


def print_replay(config: Config, logs: Sequence[Path], *, as_json: bool = False) -> None:
    """Print the events of these logs and totals; raises DropsightError where a log cannot be read."""
    if not config.events:
        raise ConfigError(["events: there are none to replay; -c names the config that has them"])
    found = replay(config, logs)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        return
    said = set(doubts(config))
    for warning in found.warnings:
        if warning not in said:
            say("warn", "events", warning)
    _print_table([_row(each) for each in found.events])
    for total in _totals(found):
        print(total)


def replay(config: Config, logs: Sequence[Path]) -> Replay:
    rules = compile_rules(config)
    seen = _seen(rules, logs)
    by_id: dict[str, list[Change]] = {}
    for change in seen.changes:
        by_id.setdefault(change.id, []).append(change)
    begun = Counter(each[0].name for each in by_id.values())
    told = Counter(change.name for change in seen.changes if change.notify)
    return Replay(
        events=[_event(each) for each in by_id.values()],
        rules=[
            ReplayedRule(each.name, in_words(each), seen.sure[each.name], begun[each.name], told[each.name])
            for each in rules
        ],
        records=seen.records,
        without_answers=seen.without_answers,
        told=told.total(),
        warnings=[*doubts(config), *_unwatched(rules, seen.cameras)],
    )


class _Seen(NamedTuple):
    """`sure` are the answers that are sure enough, by rule; `cameras` those that the answers are of."""

    changes: list[Change]
    sure: Counter[str]
    records: int
    without_answers: int
    cameras: set[str]


def _unwatched(rules: Sequence[Rule], cameras: AbstractSet[str]) -> Iterator[str]:
    """Yield a line for each rule of cameras that no answer is of, as of one that is misspelt."""
    for index, rule in enumerate(rules):
        if cameras and not any(map(rule.watches, cameras)):
            known = sorted(cameras)
            there = ", ".join(known[:_MOST_NAMED]) + (", ..." if len(known) > _MOST_NAMED else "")
            text = f"no answer is of {' or '.join(rule.cameras)}; the cameras of these logs: {there}"
            yield f"events.{index}.cameras: {text}"


def _seen(rules: Sequence[Rule], logs: Sequence[Path]) -> _Seen:
    """Have rules see what these logs say."""
    machine, alone = Machine(rules), Machine([_of_one_answer(rule) for rule in rules])
    changes: list[Change] = []
    sure, read, cameras = Counter[str](), Counter[str](), set[str]()
    heard = 0.0
    for line in _lines(logs):
        if not line.startswith(b"{"):
            read["strange"] += 1
            continue
        record = decode(line)
        read["records"] += 1
        if isinstance(record, Result) and (sighting := sighting_of(record)):
            heard = max(heard, sighting.heard)
            cameras.add(record.camera)
            changes += machine.step(sighting)
            sure.update(each.name for each in alone.step(sighting) if each.phase != "end")
        else:
            read["without_answers"] += 1
    if read["strange"] and not read["records"]:
        raise DropsightError(f"{logs[0]}: holds no records; name the JSON log, such as logs/results.jsonl")
    changes += machine.tick(heard)
    return _Seen(changes, sure, read["records"], read["without_answers"], cameras)


def _of_one_answer(rule: Rule) -> Rule:
    """Return a rule by which each answer that is sure enough is an event of its own."""
    return replace(rule, confirm=(1, 1), on_average=False, keep=1.0, end_after=1e-6, active=None, unless=None)


def _event(changes: Sequence[Change]) -> ReplayedEvent:
    last = changes[-1]
    started = min(each.started for each in changes)
    duration = datetime.fromisoformat(last.ended) - datetime.fromisoformat(started) if last.ended else None
    return ReplayedEvent(
        id=last.id,
        name=last.name,
        camera=last.camera,
        started=started,
        ended=last.ended,
        duration_seconds=duration.total_seconds() if duration is not None else None,
        count=last.count,
        best=last.best,
        region=last.region,
        told=dict(Counter(target for each in changes for target in each.notify)),
    )


def _row(event: ReplayedEvent) -> tuple[str, ...]:
    seconds, told = event.duration_seconds, event.told.items()
    return (
        event.name,
        event.camera,
        f"{started:%Y-%m-%d %H:%M:%S}" if (started := local_time(event.started)) else event.started,
        "goes on" if seconds is None else spoken(round(seconds)),
        str(event.count),
        f"{event.best.label} {event.best.confidence:.0%}",
        ", ".join(target if times == 1 else f"{target} {times} times" for target, times in told),
    )


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    table = [_HEADINGS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
    for row in table if rows else ():
        cells = (
            f"{cell:>{width}}" if heading in _TO_THE_RIGHT else f"{cell:<{width}}"
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        )
        print(as_shown("  ".join(cells).rstrip()))


def _totals(found: Replay) -> Iterator[str]:
    for rule in found.rules:
        made = f"{_counted(rule.events, 'event')}, told {_counted(rule.told, 'time')}"
        yield f"{rule.name}: {_counted(rule.sure_answers, 'answer')} sure enough, {made}"
    count = found.without_answers
    others = f" ({count} of them failed, expired or of bursts)" if count else ""
    yield (
        f"{_counted(found.records, 'record')}{others}: "
        f"{_counted(len(found.events), 'event')}, told {_counted(found.told, 'time')}"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _lines(logs: Sequence[Path]) -> Iterator[bytes]:
    for log in _in_order(logs):
        print(f"dropsight: reading {log}", file=sys.stderr)
        try:
            yield from lines_of(log)
        except OSError as error:
            raise DropsightError(f"{log}: cannot be read: {reason(error)}") from error


def _in_order(logs: Sequence[Path]) -> list[Path]:
    """The oldest of each log first; a log stands for all that was rotated away from it, too."""
    found: dict[Path, dict[int, Path]] = {}
    for log in logs:
        rotated = _ROTATED.fullmatch(log.name)
        files = found.setdefault(log.with_name(rotated[1]) if rotated else log, {})
        if rotated:
            files[int(rotated[2])] = log
            continue
        if not log.is_file():
            raise DropsightError(f"{log}: there is no such log; name one, such as logs/results.jsonl")
        files |= dict(sorted(backup_files(log), reverse=True))
        files[0] = log
    return [files[number] for files in found.values() for number in sorted(files, reverse=True)]
