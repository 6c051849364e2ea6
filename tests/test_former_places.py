"""What was filed in a folder of the inbox that the config names no longer."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daemons import PHOTOS, House, running
from dropsight.journal.filed import FiledImages
from dropsight.journal.store import Journal

ELSEWHERE = {"processed": "processed", "failed": "failed"}


def settings(**watch: str) -> dict[str, Any]:
    overlays = {"below_confidence": 1.0, "every": 1}
    return {"explain": overlays, "watch": [{"path": "inbox", **watch}]}


def named(house: House) -> list[str]:
    return sorted(record["image_path"] for record in house.records())


def begun_again(house: House) -> None:
    assert house.stop() == 0
    house.start()


def reloaded(house: House) -> None:
    house.ask("reload")


@pytest.mark.slow
@pytest.mark.parametrize("after", ["move", "keep", "delete"])
@pytest.mark.parametrize("changed", [begun_again, reloaded])
def test_what_was_filed_in_the_inbox_is_not_recorded_again_where_the_config_names_another_place(
    tmp_path: Path, after: str, changed: Callable[[House], None]
) -> None:
    """All of it was, as of a camera `done`; with `delete`, it went."""
    done = tmp_path / "inbox" / "done"
    with running(tmp_path, **settings(processed="inbox/done", failed="inbox/bad")) as house:
        shutil.copyfile(PHOTOS[0], house.inbox / "photo.jpg")
        (house.inbox / "broken.jpg").write_bytes(b"no picture")
        house.until(lambda: len(named(house)) == 2 and not list(house.inbox.glob("*.jpg")))
        house.until(lambda: len(list(done.glob("*.jpg"))) == 2, what="the photo and its overlay")
        before = {path: path.read_bytes() for path in done.iterdir()}
        house.configure(settings(after=after, **ELSEWHERE))
        changed(house)
        house.until(lambda: "bad was processed or failed" in house.daemon_log())
        shutil.copyfile(PHOTOS[1], done / "new.jpg")
        house.until(lambda: len(named(house)) > 2)
        house.ask("rescan")
        shutil.copyfile(PHOTOS[2], house.inbox / "last.jpg")
        house.until(lambda: "last.jpg" in named(house))
        assert named(house) == ["broken.jpg", "done/new.jpg", "last.jpg", "photo.jpg"]
        assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
@pytest.mark.parametrize("after", ["move", "delete"])
@pytest.mark.parametrize("brought", [shutil.move, shutil.copytree])
def test_what_was_filed_in_the_inbox_is_not_recorded_again_where_that_is_moved_or_copied_elsewhere(
    tmp_path: Path, after: str, brought: Callable[[Path, Path], None]
) -> None:
    """It was known by its path alone: all of it was recorded again, and with `delete`, it went."""
    drop = tmp_path / "disk" / "drop"
    drop.parent.mkdir()
    with running(tmp_path, **settings(processed="inbox/done", failed="inbox/bad")) as house:
        shutil.copyfile(PHOTOS[0], house.inbox / "photo.jpg")
        (house.inbox / "broken.jpg").write_bytes(b"no picture")
        house.until(lambda: len(list((house.inbox / "done").glob("*.jpg"))) == 2, what="photo and overlay")
        house.until(lambda: len(named(house)) == 2 and not list(house.inbox.glob("*.jpg")))
        assert house.stop() == 0
        brought(house.inbox, drop)
        before = {path: path.read_bytes() for path in (drop / "done").iterdir()}
        house.inbox = drop
        house.configure(settings(after=after, path=str(drop), **ELSEWHERE))
        house.start()
        shutil.copyfile(PHOTOS[1], drop / "done" / "new.jpg")
        house.until(lambda: len(named(house)) > 2)
        house.ask("rescan")
        shutil.copyfile(PHOTOS[2], drop / "last.jpg")
        house.until(lambda: "last.jpg" in named(house))
        assert named(house) == ["broken.jpg", "done/new.jpg", "last.jpg", "photo.jpg"]
        assert {path: path.read_bytes() for path in before} == before
        assert f"{drop}/done was processed or failed" in house.daemon_log()


def test_one_of_very_many_that_were_filed_is_found_by_its_name_without_looking_at_the_others(
    tmp_path: Path,
) -> None:
    """A walk over 20,000 took 40 s, and the inbox had no other look at it meanwhile."""
    journal, there = tmp_path / "journal.db", Path(__file__).stat()
    Journal(journal).close()
    place, times = b"/in/done", (there.st_size, there.st_mtime_ns)
    rows = [(place, seq, b"%d.jpg" % seq, 1, *times, 0.0, None) for seq in range(2_000)]
    with closing(sqlite3.connect(journal)) as db, db:
        db.executemany("INSERT INTO shelf VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    with closing(FiledImages(journal)) as shelf:
        hundreds = list[int]()
        shelf._db.set_progress_handler(lambda: hundreds.append(1), 100)  # noqa: SLF001 - SQLite's steps
        assert shelf.has(place, b"1999.jpg", there)
        assert not shelf.has(place, b"2000.jpg", there)
    assert len(hundreds) <= 1
