"""Setting a damaged journal aside, killed at any instant."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight
from dropsight.crashpoints import VARIABLE
from dropsight.journal.outbox import Delivery
from dropsight.journal.reader import JournalReader
from dropsight.journal.rescue import DAMAGED_KEPT, needs_rescue, rescue
from dropsight.journal.schema import mark_damaged
from dropsight.journal.store import Journal, Row
from dropsight.records import encode
from records import result


def filled(journal: Path, count: int, *, cursors: int | None = None, named: str = "") -> None:
    store = Journal(journal)
    stat = Path("/").stat()
    records = [result(f"{named}{number}.jpg", stat) for number in range(count)]
    store.add([Row(each.id, b"/gone", 0, 0, "c", "ok", encode(each)) for each in records])
    upto = count if cursors is None else cursors
    store.settle(totals=[], filed=list(range(1, count + 1)), cursors={"log": upto, "mqtt": upto})
    store.close()


def pending(journal: Path) -> list[Delivery]:
    with contextlib.closing(JournalReader(journal)) as reader:
        return reader.pending(0, 10_000)


def count(journal: Path) -> int:
    return len(pending(journal))


@pytest.mark.slow
def test_a_daemon_killed_in_a_rescue_goes_on_with_it_at_the_next_start(tmp_path: Path) -> None:
    """Between the old journal's going and the new one's coming there is none under the name."""
    house = House(tmp_path, {})
    for photo in PHOTOS[:5]:
        shutil.copy(photo, house.inbox)
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    journal = tmp_path / "state" / "journal.db"
    mark_damaged(journal)
    try:
        house.spawn(**{VARIABLE: "in_rescue"})
        assert house.ended() == -9
        assert not journal.exists()
        house.start()
        shutil.copyfile(PHOTOS[0], house.inbox / "later.jpg")
        wait_until(lambda: len(house.records()) == 6)
        assert not needs_rescue(journal)
        assert house.stop() == 0
        assert count(journal) == 6
    finally:
        house.kill()


def test_half_a_new_journal_of_a_killed_rescue_is_begun_anew(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    filled(journal, 7)
    (tmp_path / "journal.db.rescued.part").write_bytes(b"half")
    rescue(journal)
    assert count(journal) == 7


def test_the_write_ahead_log_of_a_damaged_journal_does_not_get_into_the_new_one(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    filled(journal, 7)
    (tmp_path / "journal.db-wal").write_bytes(b"stale")
    rescue(journal)
    assert count(journal) == 7
    assert not (tmp_path / "journal.db-wal").exists()


def test_a_view_without_an_end_in_a_records_place_holds_up_no_rescue(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    filled(journal, 7)
    database = sqlite3.connect(journal)
    columns = [str(name) for (name,) in database.execute("SELECT name FROM pragma_table_info('record')")]
    named = ", ".join(f"i AS {name}" for name in columns)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)"
    database.execute("DROP TABLE record")
    database.execute(f"CREATE VIEW record AS {endless} SELECT {named} FROM n WHERE i > 1")  # noqa: S608
    database.close()
    rescue(journal)
    assert count(journal) == 0


@pytest.mark.parametrize("saved", [0, 4])
def test_no_cursor_stands_beyond_what_was_saved(tmp_path: Path, saved: int) -> None:
    """New records get the numbers after it, and would count as logged and published."""
    journal = tmp_path / "journal.db"
    filled(journal, saved, cursors=5000)
    rescue(journal)
    store = Journal(journal)
    assert (store.cursor("log"), store.cursor("mqtt")) == (saved, saved)
    store.close()


def test_only_so_many_damaged_journals_are_kept(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    for day in range(6):
        (tmp_path / f"journal.db.damaged-2020010{day}T000000").write_bytes(b"old")
    filled(journal, 1)
    rescue(journal)
    kept = list(tmp_path.glob("journal.db.damaged-*"))
    assert len([path for path in kept if not path.name.endswith(("-wal", "-shm"))]) == DAMAGED_KEPT


def test_a_journal_with_a_damaged_page_is_copied_around_it(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    filled(journal, 2000)
    with sqlite3.connect(journal) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with journal.open("r+b") as file:
        file.seek(journal.stat().st_size // 2)
        file.write(b"\xff" * 8192)
    rescue(journal)
    assert 1000 < count(journal) < 2000


def test_a_journal_that_sqlite_s_own_tools_wrote_anew_is_gone_on_with(tmp_path: Path) -> None:
    """`.dump` and `.recover` leave the version out: the daemon waited for ever, and took no image."""
    house = House(tmp_path, {})
    shutil.copy(PHOTOS[0], house.inbox)
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    journal, again = tmp_path / "state" / "journal.db", tmp_path / "state" / "again.db"
    with (
        contextlib.closing(sqlite3.connect(journal)) as old,
        contextlib.closing(sqlite3.connect(again)) as new,
    ):
        new.executescript("\n".join(old.iterdump()))
    again.replace(journal)
    try:
        house.start()
        shutil.copy(PHOTOS[1], house.inbox)
        wait_until(lambda: len(house.records()) == 2)
        assert house.stop() == 0
        assert count(journal) == 2
    finally:
        house.kill()


@pytest.mark.parametrize(
    ("delivered", "delivered_since", "place"), [(2, 1, 2), (5, 1, 6), (5, 0, 5), (5, 3, 8)]
)
def test_a_journal_that_was_mounted_over_the_open_one_is_gone_on_with_and_the_broker_gets_both(
    tmp_path: Path, delivered: int, delivered_since: int, place: int
) -> None:
    """A disk that was not there at the start: what it had for the broker was set aside as damaged."""
    journal, opened = tmp_path / "journal.db", tmp_path / "opened.db"
    filled(journal, 5, cursors=delivered)
    filled(opened, 3, cursors=delivered_since, named="later-")
    opened.rename(tmp_path / "journal.db.rescued")
    rescue(journal)
    with contextlib.closing(Journal(journal)) as store:
        assert store.cursor("mqtt") == place
    paths = [json.loads(each.line)["image_path"] for each in pending(journal)]
    assert paths == [
        *(f"{number}.jpg" for number in range(5)),
        *(f"later-{number}.jpg" for number in range(3)),
    ]


def test_of_a_journal_that_was_exchanged_for_an_older_copy_of_it_each_record_is_there_once(
    tmp_path: Path,
) -> None:
    journal, opened = tmp_path / "journal.db", tmp_path / "opened.db"
    filled(journal, 5, cursors=2)
    filled(opened, 9, cursors=7)
    opened.rename(tmp_path / "journal.db.rescued")
    rescue(journal)
    with contextlib.closing(Journal(journal)) as store:
        assert store.cursor("mqtt") == 7
    assert count(journal) == 9


def test_what_cannot_be_opened_in_the_journals_place_keeps_no_saved_one_from_being_gone_on_with(
    tmp_path: Path,
) -> None:
    """As a folder that Docker makes for a file that is not there, or a copy that is root's."""
    journal, opened = tmp_path / "journal.db", tmp_path / "opened.db"
    filled(opened, 5)
    opened.rename(tmp_path / "journal.db.rescued")
    journal.mkdir()
    rescue(journal)
    assert count(journal) == 5
