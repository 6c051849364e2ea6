"""`dropsight check --replay`: what the event rules would have told, had they seen these logs."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from dropsight.config import Config
from dropsight.errors import ConfigError, DropsightError, reason
from dropsight.events.compiling import compile_rules, spoken
from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import sighting_of
from dropsight.events.turn import Change
from dropsight.journal.jsonlog import backup_files, lines_of
from dropsight.records import Result, decode

_ROTATED = re.compile(r"(.*)\.(\d+)(\.gz)?")
_HEADINGS = ("event", "camera", "start", "duration", "answers", "best", "told")
_TO_THE_RIGHT = {"duration", "answers"}


def print_replay(config: Config, logs: Sequence[Path]) -> None:
    """Print a table of events and its totals; raises DropsightError where a log cannot be read."""
    if not config.events:
        raise ConfigError(["events: there are none to replay; -c names the config that has them"])
    rules = compile_rules(config)
    machine, alone = Machine(rules), Machine([_of_one_answer(rule) for rule in rules])
    changes: list[Change] = []
    sure: Counter[str] = Counter()
    read: Counter[str] = Counter()
    heard = 0.0
    for line in _lines(logs):
        if not line.startswith(b"{"):
            read["strange"] += 1
            continue
        record = decode(line)
        read["records"] += 1
        if isinstance(record, Result) and (sighting := sighting_of(record)):
            heard = max(heard, sighting.heard)
            changes += machine.step(sighting)
            sure.update(each.name for each in alone.step(sighting) if each.phase != "end")
        else:
            read["others"] += 1
    if read["strange"] and not read["records"]:
        raise DropsightError(f"{logs[0]}: holds no records; name the JSON log, such as logs/results.jsonl")
    changes += machine.tick(heard)
    by_id: dict[str, list[Change]] = {}
    for change in changes:
        by_id.setdefault(change.id, []).append(change)
    _print_table([_row(each) for each in by_id.values()])
    for total in _totals(sure, list(by_id.values()), read, [rule.name for rule in rules]):
        print(total)


def _of_one_answer(rule: Rule) -> Rule:
    """Return a rule by which each answer that is sure enough is an event of its own."""
    return replace(rule, confirm=(1, 1), keep=1.0, end_after=1e-6, active=None, unless=None)


def _row(changes: Sequence[Change]) -> tuple[str, ...]:
    last = changes[-1]
    started, ended = min(each.started for each in changes), last.ended
    begin = datetime.fromisoformat(started)
    seconds = (datetime.fromisoformat(ended) - begin).total_seconds() if ended else None
    told = Counter(target for each in changes for target in each.notify)
    return (
        last.name,
        last.camera,
        f"{begin.astimezone():%Y-%m-%d %H:%M:%S}",
        "goes on" if seconds is None else spoken(round(seconds)),
        str(last.count),
        f"{last.best.label} {last.best.confidence:.0%}",
        ", ".join(target if times == 1 else f"{target} {times} times" for target, times in told.items()),
    )


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    table = [_HEADINGS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
    for row in table if rows else ():
        cells = (
            f"{cell:>{width}}" if heading in _TO_THE_RIGHT else f"{cell:<{width}}"
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        )
        print("  ".join(cells).rstrip())


def _totals(
    sure: Counter[str], events: Sequence[Sequence[Change]], read: Counter[str], names: Sequence[str]
) -> Iterator[str]:
    begun = Counter(each[0].name for each in events)
    told = Counter(change.name for each in events for change in each if change.notify)
    for name in names:
        made = f"{_counted(begun[name], 'event')}, told {_counted(told[name], 'time')}"
        yield f"{name}: {_counted(sure[name], 'answer')} sure enough, {made}"
    others = f" ({read['others']} of them failed, expired or of bursts)" if read["others"] else ""
    yield (
        f"{_counted(read['records'], 'record')}{others}: "
        f"{_counted(begun.total(), 'event')}, told {_counted(told.total(), 'time')}"
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
