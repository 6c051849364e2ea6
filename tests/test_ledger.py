"""Which files of a folder whose files are kept are on record."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropsight.config import Watch
from dropsight.daemon.housekeeping import Housekeeper
from dropsight.daemon.ledger import Ledger
from dropsight.records import drop_id
from dropsight.service.clock import Clock
from dropsight.service.dropfolder import DropFolder
from dropsight.service.store import Row, Store
from test_recorder import Desk


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "journal.db")
    yield opened
    opened.close()


def kept(store: Store, path: Path) -> str:
    """A file of ours and its row."""
    path.write_bytes(b"x")
    stat = path.stat()
    record_id = drop_id("d", path.name.encode(), stat.st_size, stat.st_mtime_ns)
    line = b'{"latency_ms":{"total":0.0}}'
    store.add([Row(record_id, os.fsencode(path), 1, stat.st_mtime_ns, "c", "ok", line, kept=True)])
    return record_id


def test_what_is_gone_from_a_kept_folder_is_forgotten(tmp_path: Path, store: Store) -> None:
    (tmp_path / "in").mkdir()
    folder = DropFolder.open(Watch(path=tmp_path / "in", after="keep"))
    gone, _ = (kept(store, tmp_path / "in" / name) for name in ("a.jpg", "b.jpg"))
    (tmp_path / "in" / "a.jpg").unlink()
    assert Ledger(store.path, device="d").gone([folder]) == [gone]


def test_a_journal_that_cannot_be_read_is_a_trouble_until_it_can_and_ends_no_housekeeping(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    folder = DropFolder.open(Watch(path=desk.inbox, after="keep"))
    (desk.inbox / "a.jpg").touch()
    ledger = Ledger(desk.store.path, device="d")
    keeper = Housekeeper([folder], Clock(), ledger, desk.recorder, journal=desk.store.path, remembers=100_000)
    with sqlite3.connect(desk.store.path) as db:
        db.execute("ALTER TABLE kept RENAME TO away")
        keeper.keep_house(threading.Event())
        assert "no such table" in desk.recorder.troubles.current()["housekeeping"]
        db.execute("ALTER TABLE away RENAME TO kept")
    db.close()
    keeper.keep_house(threading.Event())
    assert not desk.recorder.troubles.any()
    desk.close()


def test_a_kept_folder_that_is_empty_all_at_once_is_not_forgotten(tmp_path: Path, store: Store) -> None:
    """A share that is not mounted just now: with it back, each image would get a second line."""
    (tmp_path / "in").mkdir()
    folder = DropFolder.open(Watch(path=tmp_path / "in", after="keep"))
    kept(store, tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "a.jpg").unlink()
    ledger = Ledger(store.path, device="d")
    assert ledger.gone([folder]) == []
    (tmp_path / "in").rmdir()
    assert ledger.gone([folder]) == []
