"""Disks that are full, write-protected, elsewhere or damaged: waited for, said, and nothing lost."""

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight, running
from disks import fill, small_disk
from dropsight.crashpoints import VARIABLE
from dropsight.service.rescue import mark_damaged


def drop(house: House, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        shutil.copy(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number:03}.jpg")


def names(house: House) -> list[str]:
    return sorted(record["image_path"] for record in house.records())


def trouble(house: House, part: str) -> str:
    status = house.status()
    text: str = status["troubles"].get(part, "")
    assert status["stats"]["troubles"].get(part, "") == text
    return text


def test_a_full_disk_under_the_log_is_said_once_and_every_line_follows_when_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "logs", size="64k") as disk, running(tmp_path) as house:
        ballast = fill(disk)
        drop(house, 20)
        wait_until(lambda: house.finished() == 20)
        wait_until(lambda: "No space left on device" in trouble(house, "log"))
        assert not house.waiting()
        ballast.unlink()
        wait_until(lambda: len(house.records()) == 20)
        wait_until(lambda: not trouble(house, "log"))
        assert names(house) == [f"{number:03}.jpg" for number in range(20)]
        assert house.daemon_log().count("takes no lines") == 1
        assert "log: in order again" in house.daemon_log()


def test_a_full_disk_under_the_journal_keeps_the_images_where_they_are_until_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "state") as disk, running(tmp_path) as house:
        drop(house, 5)
        wait_until(lambda: house.finished() == 5)
        ballast = fill(disk)
        drop(house, 60, start=5)
        wait_until(lambda: "full" in trouble(house, "journal"))
        kept = len(house.waiting())
        assert kept
        assert len(house.records()) == 65 - kept
        ballast.unlink()
        wait_until(lambda: house.finished() == 65)
        wait_until(lambda: not trouble(house, "journal"))
        assert names(house) == [f"{number:03}.jpg" for number in range(65)]


def test_a_full_disk_under_processed_keeps_the_images_in_the_inbox_and_moves_them_later(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "processed") as disk, running(tmp_path) as house:
        ballast = fill(disk)
        drop(house, 8)
        wait_until(lambda: len(house.records()) == 8)
        wait_until(lambda: "takes no finished images: No space left" in trouble(house, "filing"))
        assert len(house.waiting()) == 8
        assert house.counters()["waiting"] == 8
        ballast.unlink()
        wait_until(lambda: not house.waiting(), seconds=60)
        assert names(house) == [f"{number:03}.jpg" for number in range(8)]
        assert {path.name for path in disk.iterdir()} == set(names(house))


def test_a_stop_with_a_full_disk_under_processed_files_the_images_in_the_next_life_without_a_second_line(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "processed") as disk, running(tmp_path) as house:
        ballast = fill(disk)
        drop(house, 3)
        wait_until(lambda: len(house.records()) == 3)
        assert house.stop() == 0
        house.start()
        wait_until(lambda: bool(trouble(house, "filing")))
        ballast.unlink()
        wait_until(lambda: not house.waiting(), seconds=60)
        assert len(house.records()) == 3


def test_a_write_protected_processed_folder_is_waited_for(tmp_path: Path) -> None:
    with small_disk(tmp_path / "processed") as disk, running(tmp_path) as house:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        drop(house, 3)
        wait_until(lambda: "Read-only file system" in trouble(house, "filing"))
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        wait_until(lambda: not house.waiting(), seconds=60)
        assert len(house.records()) == 3


def test_a_daemon_that_starts_on_a_write_protected_disk_waits_and_begins_by_itself(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    with small_disk(tmp_path / "logs") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        drop(house, 2)
        house.spawn()
        try:
            wait_until(lambda: "Read-only file system" in house.daemon_log())
            assert len(house.waiting()) == 2
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            wait_until(lambda: len(house.records()) == 2)
        finally:
            house.kill()


def test_a_start_with_a_full_disk_under_the_log_goes_on_from_the_journal(tmp_path: Path) -> None:
    with small_disk(tmp_path / "logs", size="64k") as disk, running(tmp_path) as house:
        ballast = fill(disk)
        drop(house, 30)
        wait_until(lambda: house.finished() == 30)
        assert house.stop() == 0
        house.start()
        assert "No space left" in trouble(house, "log")
        ballast.unlink()
        wait_until(lambda: len(house.records()) == 30)
        assert len(set(names(house))) == 30


def test_processed_on_another_disk_gets_each_file_once_though_the_copying_was_killed(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    with small_disk(tmp_path / "processed", size="16m") as disk:
        drop(house, 4)
        try:
            house.spawn(**{VARIABLE: "in_copying:2"})
            assert house.ended() == -9
            house.start()
            wait_until(lambda: not house.waiting())
        finally:
            house.kill()
        assert sorted(path.name for path in disk.iterdir()) == [f"{number:03}.jpg" for number in range(4)]
        for path in disk.iterdir():
            assert path.read_bytes() == PHOTOS[int(path.stem)].read_bytes()
    assert len(house.records()) == 4


def filled_journal(tmp_path: Path) -> House:
    house = House(tmp_path, {})
    drop(house, 300)
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    with sqlite3.connect(tmp_path / "state" / "journal.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return house


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
    with sqlite3.connect(journal) as db:
        saved = db.execute("SELECT count(*) FROM record").fetchone()[0]
    assert 100 < saved <= 302
    assert len(names(house)) == len(set(names(house))) == 302


@pytest.mark.parametrize("content", [b"no journal" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_journal_that_is_none_is_set_aside(tmp_path: Path, content: bytes) -> None:
    house = House(tmp_path, {})
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal.db").write_bytes(content)
    drop(house, 1)
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0, done.stderr
    assert len(house.records()) == 1


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
        assert "the journal cannot be used: database disk image is malformed" in house.daemon_log()
        assert "Traceback" not in house.daemon_log()
        house.start()
        wait_until(lambda: not house.waiting())
        assert len(set(names(house))) == 340


def test_a_journal_of_a_newer_version_is_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with sqlite3.connect(tmp_path / "state" / "journal.db") as db:
        db.execute("PRAGMA user_version = 99")
    done = dropsight("run", "--mqtt", "none", "--once", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "written by a newer dropsight (version 99); upgrade this one" in line
