"""A recorder with rules, fed pictures that nobody looked at; as a process of its own, to be killed."""

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from brokers import wait_until
from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import sighting_of
from dropsight.journal.event_messages import EventMessage, message_in
from dropsight.journal.reader import JournalReader
from dropsight.journal.recording import Finished
from dropsight.records import Prediction, Result, decode, timestamp
from records import result
from test_recorder import Desk

BASE = 1_780_000_000.0
STEP_SECONDS = 0.05
RULES = (
    Rule("fox", ("red fox",), end_after=0.2, within=60.0, confirm=(2, 3)),
    Rule("cat", ("cat",), end_after=0.2, within=60.0, confirm=(1, 1)),
)
# What the pictures show, one after the other.
STORY = "ff.f.c....fff..c"
_LABELS = {"f": "red fox", "c": "cat", ".": "lawn"}


def picture(
    desk: Desk, number: int, shows: str, *, camera: str = "garden", confidence: float = 0.9
) -> Finished:
    """Take a picture of the inbox in hand, with a record that says this."""
    path = desk.inbox / f"{number:02}.jpg"
    desk.backlog.hint(desk.folder, str(path), closed=True)
    candidate = desk.backlog.take()
    assert candidate
    stat = path.stat()
    return Finished(candidate, stat, _record(path.name, stat, number, shows, camera, confidence))


def _record(
    name: str, stat: os.stat_result, number: int, shows: str, camera: str, confidence: float
) -> Result:
    record, label = result(name, stat), _LABELS[shows]
    return msgspec.structs.replace(
        record,
        time=timestamp(time.time()),
        camera=camera,
        label=label,
        confidence=confidence,
        predictions=[Prediction(1, label, confidence)],
        image=msgspec.structs.replace(record.image, captured=timestamp(BASE + number * STEP_SECONDS)),
    )


def drop(root: Path, count: int) -> None:
    inbox = root / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = inbox / f"{number:02}.jpg"
        path.write_bytes(b"image")
        os.utime(path, (BASE + number, BASE + number))


def replayed(log: Path, rules: Sequence[Rule]) -> dict[str, tuple[object, ...]]:
    """What a log says that happened, by the ids of events."""
    machine, found = Machine(rules), dict[str, tuple[object, ...]]()
    for line in log.read_bytes().splitlines():
        record = decode(line)
        sighting = sighting_of(record) if isinstance(record, Result) else None
        for change in machine.step(sighting) if sighting else []:
            found[change.id] = (change.name, change.camera, change.count, change.best.id)
    return found


def told(path: Path) -> dict[str, tuple[object, ...]]:
    with closing(JournalReader(path)) as reader:
        rows = reader._db.execute("SELECT line FROM event ORDER BY n")  # noqa: SLF001 - nobody else looks at all
        messages = [message_in(line) for (line,) in rows]
    return {each.id: (each.name, each.camera, each.count, each.best.id) for each in messages}


def messages(path: Path) -> list[EventMessage]:
    with closing(JournalReader(path)) as reader:
        return [message_in(each.line) for each in reader.told_since(0)]


def marks(log: Path) -> list[tuple[str, str]]:
    """Of each record in the log, what it had events do."""
    records = [json.loads(line) for line in log.read_bytes().splitlines()]
    return [(each["image_path"], mark["phase"]) for each in records for mark in each.get("events", ())]


def live(root: Path, story: str = STORY) -> None:
    """Take all that is in the inbox, and wait until nothing goes on."""
    desk = Desk(root, rules=RULES)
    desk.recorder.recover([desk.folder])
    with desk.running():
        for number, shows in enumerate(story):
            if (desk.inbox / f"{number:02}.jpg").exists():
                desk.recorder.put(picture(desk, number, shows))
            if number % 6 == 5:  # so that they are several groups
                assert desk.recorder.drain(seconds=30)
        assert desk.recorder.drain(seconds=30)
        wait_until(lambda: not desk.events.going_on())
        assert desk.recorder.drain(seconds=30)
    desk.close()


if __name__ == "__main__":
    live(Path(sys.argv[1]))
