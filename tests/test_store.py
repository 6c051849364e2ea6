"""The journal."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from dropsight.errors import ConfigError, InUseError, StoreError
from dropsight.journal import store as store_module
from dropsight.journal.kept_files import Kept, KeptChanges, KeptReader
from dropsight.journal.reader import JournalReader
from dropsight.journal.store import Journal, Row


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.db")
    yield opened
    opened.close()


def row(number: int, *, kept: bool = False) -> Row:
    line, path = b'{"id":"%d","latency_ms":{"total":0.0}}' % number, b"/in/%d.jpg" % number
    stays = Kept(path, 10, number, number, None) if kept else None
    return Row(str(number), path, 10, number, "front", "ok", line, kept=stays)


def fill(store: Journal, count: int) -> list[int]:
    return [seq for seq in store.add([row(number) for number in range(count)]) if seq is not None]


def test_a_record_gets_a_seq_and_one_that_is_known_none(store: Journal) -> None:
    assert store.add([row(1), row(2)]) == [1, 2]
    assert store.add([row(2), row(3)]) == [None, 3]


def test_records_are_unfiled_until_they_are_filed(store: Journal) -> None:
    fill(store, 3)
    store.settle(totals=[(12.5, 2)], filed=[1, 2], cursors={})
    assert [entry.seq for piece in store.unfiled() for entry in piece] == [3]
    reader = JournalReader(store.path)
    assert reader.pending(1, 1)[0].line.endswith(b'"total":12.500}}')
    reader.close()


def test_cursors_never_go_back(store: Journal) -> None:
    store.settle(totals=[], filed=[], cursors={"log": 7})
    store.settle(totals=[], filed=[], cursors={"log": 3})
    assert store.cursor("log") == 7


def test_a_new_broker_begins_with_what_comes(store: Journal) -> None:
    fill(store, 4)
    store.start_cursor("mqtt")
    assert store.cursor("mqtt") == 4
    fill(store, 6)
    store.start_cursor("mqtt")
    assert store.cursor("mqtt") == 4


def test_pruning_spares_what_is_not_filed(store: Journal) -> None:
    fill(store, 1200)
    store.settle(totals=[], filed=[seq for seq in range(1, 1201) if seq != 5], cursors={})
    assert store.prune(after=0, upto=1000, keep=1).all == 999
    assert [entry.seq for piece in store.unfiled() for entry in piece] == [5]


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_what_waits_for_an_inbox_that_is_in_no_config_takes_no_other_record_s_place(
    store: Journal, status: Literal["ok", "failed"]
) -> None:
    """Half of the journal were such: nobody else's were kept, or of some more than the bound."""
    waiting = [Row(f"waiting {n}", b"/away", 1, n, "away", status, b"{}") for n in range(80)]
    others = [Row(f"other {n}", b"/in", 1, n, "c", "ok", b"{}") for n in range(90)]
    store.add([*waiting, *others])
    store.settle(totals=[], filed=range(81, 171), cursors={})
    assert store.prune(after=0, upto=170, keep=80) == (10, 0, 0)
    assert store.prune(after=0, upto=170, keep=80) == (0, 0, 0)
    assert sum(map(len, store.unfiled())) == 80, "else they would be recorded again, should it come back"


def test_what_is_still_to_be_filed_comes_in_pieces_that_have_all_of_a_path_each(
    store: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PIECE", 2)
    paths = [b"a", b"b", b"c", b"a", b"a", b"d"]
    store.add([Row(str(n), path, 1, n, "c", "ok", b"{}") for n, path in enumerate(paths)])
    assert [[entry.seq for entry in piece] for piece in store.unfiled()] == [[2, 3], [1, 4, 5], [6]]


def test_a_bound_that_was_lowered_is_reached_by_and_by(store: Journal) -> None:
    """Half a million at once took 15 s of a PC, in which no image of any camera was recorded."""
    fill(store, 6000)
    store.settle(totals=[], filed=list(range(1, 6001)), cursors={})
    assert store.prune(after=0, upto=6000, keep=10) == (5000, 0, 990)
    assert store.prune(after=0, upto=6000, keep=10) == (990, 0, 0)


def test_the_ledger_of_kept_files_outlives_pruning(store: Journal) -> None:
    store.add([row(1, kept=True)])
    store.settle(totals=[], filed=[1], cursors={})
    store.prune(after=0, upto=1, keep=0)
    reader = KeptReader(store.path)
    assert reader.at("/in/1.jpg")
    store.note_kept(KeptChanges(gone=[b"/in/1.jpg"]))
    assert not reader.at("/in/1.jpg")
    reader.close()


def read_bytes() -> int:
    """By this process's own calls, from files and the page cache alike."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])


def test_the_newest_answer_of_a_camera_is_found_without_reading_the_journal(store: Journal) -> None:
    """A Pi with a hundred thousand records starts as quickly as one with none."""
    lines = [b'{"id":"%d","padding":"%s"}' % (number, b"x" * 800) for number in range(20_000)]
    rows = [
        Row(str(number), b"/in", 1, 1, f"cam{number % 7}", "failed" if number > 19_000 else "ok", line)
        for number, line in enumerate(lines)
    ]
    store.add(rows)
    reader = JournalReader(store.path)
    before = read_bytes()
    for number in range(8):
        found = reader.latest(f"cam{number}")
        assert found == (lines[19_000 - (19_000 - number) % 7] if number < 7 else None)
    assert read_bytes() - before < store.path.stat().st_size / 50
    reader.close()


def test_an_older_journal_gets_the_index_at_its_next_start(tmp_path: Path) -> None:
    store = Journal(tmp_path / "older.db")
    fill(store, 3)
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("DROP INDEX newest")
    db.close()
    Journal(store.path).close()
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'newest'").fetchone()
    db.close()


def test_looking_at_every_kept_file_holds_up_no_checkpoint(store: Journal) -> None:
    """Else the write-ahead log grows for as long as a slow share takes to answer."""
    store.add([row(number, kept=True) for number in range(1200)])
    reader = KeptReader(store.path)
    kept = reader.all()
    seen = [next(kept)]
    fill(store, 2000)
    with sqlite3.connect(store.path) as db:
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    db.close()
    seen.extend(kept)
    assert len({each.path for each in seen}) == 1200
    reader.close()


def test_a_second_owner_is_refused(store: Journal) -> None:
    with pytest.raises(InUseError, match="in use by another dropsight"):
        Journal(store.path)


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "journal.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigError, match="newer dropsight"):
        Journal(tmp_path / "journal.db")


@pytest.mark.parametrize(
    "code",
    [
        "CREATE TRIGGER x AFTER INSERT ON record BEGIN DELETE FROM record; END",
        "CREATE VIEW y AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    ],
)
def test_a_journal_that_brings_code_is_not_opened(tmp_path: Path, code: str) -> None:
    """A backup may be a stranger's; SQLite carries out what stands in it."""
    Journal(tmp_path / "journal.db").close()
    database = sqlite3.connect(tmp_path / "journal.db")
    database.execute(code)
    database.close()
    with pytest.raises(ConfigError, match="triggers or views"):
        Journal(tmp_path / "journal.db")


def test_a_corrupt_journal_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        Journal(tmp_path / "journal.db")
