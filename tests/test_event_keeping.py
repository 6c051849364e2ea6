"""Events in the journal: with the records that they are of, whatever dies in between."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path

import msgspec
import pytest

import eventful
from brokers import wait_until
from dropsight.crashpoints import VARIABLE
from dropsight.journal.event_keeping import EventKeeper
from dropsight.journal.event_table import EventNews, EventReader
from dropsight.journal.reader import JournalReader
from dropsight.journal.store import Journal
from dropsight.records import Result, decode, timestamp
from eventful import BASE, RULES, STEP_SECONDS, STORY, drop, live, marks, messages, picture, replayed, told
from test_recorder import Desk

POINTS = ("before_commit", "in_commit", "after_commit", "after_line", "before_occurrence", "after_occurrence")


def test_an_event_is_told_with_the_records_that_it_is_of_and_its_end_without_one(tmp_path: Path) -> None:
    drop(tmp_path, 3)
    live(tmp_path, "ff.")
    log, journal = tmp_path / "r.jsonl", tmp_path / "state" / "journal.db"
    start, end = messages(journal)
    assert (start.event_type, start.phase, start.count, start.ended) == ("fox", "start", 2, None)
    assert (end.event_type, end.phase, end.id) == ("fox_end", "end", start.id)
    assert (end.started, end.ended) == (timestamp(BASE), timestamp(BASE + STEP_SECONDS))
    assert marks(log) == [("01.jpg", "start")]
    with closing(JournalReader(journal)) as reader:
        rows = reader.pending(0, 9)
    # The message follows its record, and what is in the journal is what is in the log.
    assert [each.status for each in rows] == ["ok", "ok", "event", "ok", "event"]
    assert [each.line for each in rows if each.status == "ok"] == log.read_bytes().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_what_a_log_says_that_happened_was_told_wherever_a_kill_came_between(
    tmp_path: Path, point: str
) -> None:
    drop(tmp_path, len(STORY))
    environment = {**os.environ, VARIABLE: f"{point}:2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, eventful.__file__, tmp_path], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    live(tmp_path)
    log, journal = tmp_path / "r.jsonl", tmp_path / "state" / "journal.db"
    assert len(log.read_bytes().splitlines()) == len(STORY)
    found = replayed(log, RULES)
    assert {name for name, *_ in found.values()} == {"fox", "cat"}
    assert told(journal) == found
    # Each begins once and ends; no message is there twice.
    phases = [(each.id, each.phase) for each in messages(journal)]
    assert [each for each in phases if each[1] == "start"] == [(event, "start") for event in found]
    ids = [each.message_id for each in messages(journal)]
    assert len(ids) == len(set(ids))
    assert {mark for mark in marks(log) if mark[1] == "start"} == {
        ("01.jpg", "start"),
        ("05.jpg", "start"),
        ("11.jpg", "start"),
        ("15.jpg", "start"),
    }


def test_an_image_that_comes_twice_is_seen_twice_and_one_that_is_on_record_is_not(tmp_path: Path) -> None:
    """A second drop just like the first is a record of its own, with an id of its own."""
    drop(tmp_path, 1)
    desk = Desk(tmp_path, rules=RULES)
    with desk.running():
        desk.recorder.put(picture(desk, 0, "f"))
        assert desk.recorder.drain(seconds=30)
        (tmp_path / "processed" / "00.jpg").rename(desk.inbox / "00.jpg")
        desk.recorder.put(picture(desk, 0, "f"))
        assert desk.recorder.drain(seconds=30)
    (start,) = [each for each in messages(desk.store.path) if each.phase == "start"]
    assert start.count == 2
    assert told(desk.store.path).keys() == replayed(tmp_path / "r.jsonl", RULES).keys()
    desk.close()


def test_events_of_a_rule_that_is_gone_end_at_the_next_start(tmp_path: Path) -> None:
    drop(tmp_path, 2)
    desk = Desk(tmp_path, rules=RULES)
    with desk.running():
        for number in range(2):
            desk.recorder.put(picture(desk, number, "f"))
        assert desk.recorder.drain(seconds=30)
    desk.close()
    desk = Desk(tmp_path, rules=RULES[1:])
    with desk.running():
        wait_until(lambda: not desk.events.going_on())
    assert [each.phase for each in messages(desk.store.path)] == ["start", "end"]
    desk.close()


def test_events_whose_state_is_lost_end_and_the_rules_begin_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drop(tmp_path, 2)
    desk = Desk(tmp_path, rules=RULES)
    with desk.running():
        for number in range(2):
            desk.recorder.put(picture(desk, number, "f"))
        assert desk.recorder.drain(seconds=30)
        wait_until(lambda: bool(desk.events.going_on()))
    with desk.store._transaction(synchronous="FULL"):  # noqa: SLF001 - as damage would have it
        desk.store._db.execute("UPDATE event_stream SET state = x'ff'")  # noqa: SLF001
    desk.close()
    desk = Desk(tmp_path, rules=RULES)
    with desk.running():
        wait_until(lambda: not desk.events.going_on())
    assert "the state of events of camera garden is not readable, so it starts over" in caplog.text
    assert "the state of these events is lost, so they end: fox of garden" in caplog.text
    assert [each.phase for each in messages(desk.store.path)] == ["start", "end"]
    desk.close()


def test_a_commit_writes_the_state_of_its_own_camera_alone(tmp_path: Path) -> None:
    """However many cameras have events."""
    drop(tmp_path, 3)
    desk = Desk(tmp_path, rules=RULES)
    with desk.running():
        for number, camera in enumerate(("a", "b", "a")):
            desk.recorder.put(picture(desk, number, "f", camera=camera))
            assert desk.recorder.drain(seconds=30)
    before = desk.events.states()
    assert before.keys() == {"a", "b"}
    keeper = EventKeeper(RULES, desk.events, device="d", contained=lambda _: nullcontext())
    with closing(JournalReader(desk.store.path)) as reader:
        record = decode(reader.pending(0, 1)[0].line)
    assert isinstance(record, Result)
    keeper.weigh(msgspec.structs.replace(record, camera="b", id="another"), arrived=BASE)
    (changed,) = keeper.states()
    desk.store.add([], EventNews((), [changed]))
    assert changed.camera == "b"
    assert desk.events.states() == {"a": before["a"], "b": changed.state}
    keeper.keep()
    nothing = msgspec.structs.replace(record, camera="b", id="nothing", predictions=[])
    keeper.weigh(nothing, arrived=BASE)
    assert keeper.states() == [], "it is as it was"
    desk.close()


def test_a_journal_with_the_state_of_all_cameras_in_one_row_goes_on_from_it(tmp_path: Path) -> None:
    """As journals of before have it."""
    drop(tmp_path, 2)
    desk = Desk(tmp_path, rules=RULES)
    with desk.running():
        desk.recorder.put(picture(desk, 0, "f", camera='an "odd" \N{SNOWMAN}'))
        desk.recorder.put(picture(desk, 1, "f", camera="b"))
        assert desk.recorder.drain(seconds=30)
    rows = desk.events.states()
    desk.close()
    cameras = {camera: msgspec.Raw(row) for camera, row in rows.items()}
    old = msgspec.json.encode({"cameras": cameras})
    for state, expected in ((old, rows), (b"\xff", {})):
        with closing(sqlite3.connect(desk.store.path)) as db, db:
            db.execute("CREATE TABLE event_state (one INTEGER PRIMARY KEY, state BLOB NOT NULL) STRICT")
            db.execute("INSERT INTO event_state VALUES (1, ?)", (state,))
        Journal(desk.store.path).close()
        with closing(EventReader(desk.store.path)) as reader:
            assert reader.states() == expected
