"""Journals that are damaged, none at all, or from the future."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from brokers import Mosquitto, Subscriber, wait_until
from daemons import House, dropsight, faults, running
from dropsight.errors import DamagedError
from dropsight.journal.reader import JournalReader
from dropsight.journal.rescue import rescue
from dropsight.journal.schema import is_marked, mark_damaged
from dropsight.journal.store import Journal, Row
from test_disk import drop, names


def filled_journal(tmp_path: Path) -> House:
    house = House(tmp_path, {})
    drop(house, 300)
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    with closing(sqlite3.connect(tmp_path / "state" / "journal.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return house


@pytest.mark.slow
def test_a_damaged_journal_is_set_aside_and_what_is_readable_is_saved(tmp_path: Path) -> None:
    house = filled_journal(tmp_path)
    journal = tmp_path / "state" / "journal.db"
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 8))
    mark_damaged(journal)
    drop(house, 2, start=900)
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0
    assert "was damaged" in done.stderr
    assert len(list((tmp_path / "state").glob("journal.db.damaged-*"))) == 1
    with closing(sqlite3.connect(journal)) as db:
        saved = db.execute("SELECT count(*) FROM record").fetchone()[0]
    assert 100 < saved <= 302
    assert len(names(house)) == len(set(names(house))) == 302


@pytest.mark.parametrize("content", [b"no journal" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_journal_that_is_none_is_set_aside(tmp_path: Path, content: bytes) -> None:
    house = House(tmp_path, {})
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "journal.db").write_bytes(content)
    drop(house, 1)
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0, done.stderr
    assert len(house.records()) == 1


@pytest.mark.slow
def test_damage_found_at_work_ends_the_daemon_with_one_line_and_is_mended_at_the_next_start(
    tmp_path: Path,
) -> None:
    filled_journal(tmp_path)
    journal = tmp_path / "state" / "journal.db"
    with running(tmp_path) as house:
        with journal.open("r+b") as file:  # all but the first page, under the daemon's eyes
            file.seek(4096)
            file.write(os.urandom(journal.stat().st_size - 4096))
        drop(house, 40, start=400)
        assert house.ended() == 1
        assert "the journal cannot be used: " in house.daemon_log()
        assert "Traceback" not in house.daemon_log()
        house.start()
        house.until(lambda: not house.waiting())
        assert len(set(names(house))) == 340


@pytest.mark.slow
def test_damage_that_only_the_publisher_meets_ends_the_daemon_and_is_mended_at_the_next_start(
    tmp_path: Path,
) -> None:
    broker = Mosquitto(tmp_path)
    mqtt = {"mqtt": {"url": broker.url}}
    House(tmp_path, mqtt)
    assert (
        dropsight("run", "-c", str(tmp_path / "dropsight.yaml"), "--mqtt", "none", "--once").returncode == 0
    )
    journal = tmp_path / "state" / "journal.db"
    try:
        with running(tmp_path, **mqtt) as house:
            drop(house, 300)
            house.until(lambda: house.finished() == 300)
            assert house.stop() == 0
            with closing(sqlite3.connect(journal)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            house.start()
            size = journal.stat().st_size
            with journal.open("r+b") as file:
                file.seek(size // 3)
                file.write(os.urandom(size // 3))
            broker.start()
            assert house.ended() == 1
            assert "the journal cannot be used: " in house.daemon_log()
            assert "Traceback" not in house.daemon_log()
            with Subscriber(broker.port) as heard:
                house.start()
                wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)
                assert len(heard.topics("/result/")) > 50
            assert len(list((tmp_path / "state").glob("journal.db.damaged-*"))) == 1
    finally:
        broker.kill()


@pytest.mark.parametrize("torn", ["CAST(x'ff0a' AS TEXT)", "NULL", "x'00'"])
def test_a_row_that_no_journal_writes_is_damage_and_all_others_are_saved(tmp_path: Path, torn: str) -> None:
    journal, names = tmp_path / "journal.db", [f"{number}.jpg" for number in range(5)]
    with closing(Journal(journal)) as store:
        store.add([Row(name, b"/in", 1, 1, "c", "ok", b"{}") for name in names])
    with closing(sqlite3.connect(journal)) as db:
        # The page as a torn one would be: with the table's checks out of the way.
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT', ''), 'NOT NULL', '')"
            " WHERE name = 'record'"
        )
        db.commit()
    with closing(sqlite3.connect(journal)) as db:
        db.execute(f"UPDATE record SET camera = {torn} WHERE seq = 3")  # noqa: S608 - ours
        db.commit()
    with (
        closing(JournalReader(journal)) as reader,
        pytest.raises(DamagedError, match="cannot be used") as told,
    ):
        reader.pending(0, 10)
    assert is_marked(journal)
    assert "\n" not in str(told.value)
    rescue(journal)
    with closing(Journal(journal)), closing(JournalReader(journal)) as reader:
        assert [found.seq for found in reader.pending(0, 10)] == [1, 2, 4, 5]


def test_a_journal_of_a_newer_version_is_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(tmp_path / "state" / "journal.db")) as db:
        db.execute("PRAGMA user_version = 99")
    done = dropsight("run", "--mqtt", "none", "--once", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = faults(done)
    assert "written by a newer dropsight (version 99); upgrade this one" in line


def delete(state: Path) -> None:
    (state / "journal.db").unlink()


def delete_its_wal(state: Path) -> None:
    (state / "journal.db-wal").unlink()


def replace(state: Path) -> None:
    shutil.copy(state / "journal.db", state / "older.db")
    (state / "older.db").replace(state / "journal.db")


def move_all_away(state: Path) -> None:
    state.rename(state.with_name("elsewhere"))


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("harm", [delete, delete_its_wal, replace, move_all_away])
def test_a_journal_taken_away_from_under_the_daemon_is_saved_and_nothing_is_lost_or_repeated(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """With `keep`, the ledger in it is all that tells old images from new ones."""
    broker = Mosquitto(tmp_path)
    watch = [{"path": "inbox", "after": "keep"}]
    try:
        with running(tmp_path, watch=watch, mqtt={"url": broker.url}) as house:
            drop(house, 5)
            wait_until(lambda: len(house.records()) == 5)
            harm(tmp_path / "state")
            drop(house, 1, start=5)
            assert house.ended() == 1
            assert "deleted, moved or replaced while it was in use" in house.daemon_log()
            assert "Traceback" not in house.daemon_log()
            broker.start()
            with Subscriber(broker.port) as heard:
                house.start()
                drop(house, 1, start=6)
                wait_until(lambda: len(house.records()) == 7)
                wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)
                wait_until(lambda: len(heard.topics("/result/")) >= 7)
                assert house.stop() == 0
                published = {json.loads(record)["image_path"] for record in heard.topics("/result/")}
            assert names(house) == sorted(published) == [f"{number:03}.jpg" for number in range(7)]
    finally:
        broker.kill()


@pytest.mark.slow
def test_a_journal_taken_away_while_nothing_comes_is_saved_at_the_stop(tmp_path: Path) -> None:
    with running(tmp_path, watch=[{"path": "inbox", "after": "keep"}]) as house:
        drop(house, 3)
        wait_until(lambda: len(house.records()) == 3)
        (tmp_path / "state" / "journal.db").unlink()
        house.stop()
        assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
        assert names(house) == ["000.jpg", "001.jpg", "002.jpg"]


@pytest.mark.slow
def test_a_journal_taken_away_that_cannot_be_saved_yet_is_waited_for(tmp_path: Path) -> None:
    with running(tmp_path, watch=[{"path": "inbox", "after": "keep"}]) as house:
        drop(house, 3)
        wait_until(lambda: len(house.records()) == 3)
        (tmp_path / "state").rename(tmp_path / "elsewhere")
        (tmp_path / "state").write_text("a file in its place")
        drop(house, 1, start=3)
        wait_until(lambda: "cannot be saved yet" in house.daemon_log())
        (tmp_path / "state").unlink()
        assert house.ended() == 1
        house.start()
        wait_until(lambda: len(house.records()) == 4)
        assert names(house) == [f"{number:03}.jpg" for number in range(4)]
