"""Broken files in masses push no result out of log and journal, and lose no line of their own."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight, running
from disks import fill, small_disk
from dropsight.crashpoints import VARIABLE
from dropsight.errors import SinkError
from dropsight.journal.failure_share import TELL_SECONDS, Flood
from dropsight.journal.log_files import backup_files, lines_of
from dropsight.journal.reader import JournalReader
from dropsight.journal.resultlog import ResultLog, path_apart
from dropsight.journal.store import Journal, Row
from dropsight.status.troubles import Troubles


def good(number: int) -> bytes:
    return json.dumps({"status": "ok", "id": f"{number:032}", "x": "y" * 30}, separators=(",", ":")).encode()


def bad(number: int) -> bytes:
    return good(number).replace(b'"ok"', b'"failed"').replace(b"yyyy", b"", 1)


def log_at(folder: Path, *, max_bytes: int = 2_000) -> ResultLog:
    return ResultLog(folder / "r.jsonl", max_bytes=max_bytes, backups=2, compress=False)


def lines_at(path: Path) -> list[bytes]:
    """All lines of a log and its backups, the oldest first."""
    files = [backup for _, backup in sorted(backup_files(path), reverse=True)] + [path]
    return [line.rstrip(b"\n") for each in files for line in lines_of(each)]


def numbers(path: Path) -> list[int]:
    return [int(json.loads(line)["id"]) for line in lines_at(path)]


@pytest.fixture
def flooded(tmp_path: Path) -> Iterator[House]:
    """Ten pictures, then a thousand empty files."""
    bounds = {"log": {"path": "logs/results.jsonl", "max_bytes": "40kB", "backups": 2}}
    with running(tmp_path, **bounds, store={"path": "state/journal.db", "max_records": 200}) as house:
        for number in range(10):
            shutil.copyfile(PHOTOS[number], house.inbox / f"good{number}.jpg")
        house.until(lambda: house.finished() == 10)
        (house.inbox / "cam").mkdir()
        for number in range(1_000):
            (house.inbox / "cam" / f"{number}.jpg").touch()
        wait_until(lambda: house.counters()["failed"] == 1_000)
        yield house


def in_journal(house: House) -> dict[str, int]:
    with closing(house.journal()) as db:
        return dict(db.execute("SELECT status, count(*) FROM record GROUP BY status").fetchall())


@pytest.mark.slow
def test_a_thousand_empty_files_push_no_result_out_of_log_and_journal_and_it_is_said(flooded: House) -> None:
    log = flooded.root / "logs" / "results.jsonl"
    standing = [json.loads(line) for line in lines_at(log)]
    assert sum(record["status"] == "ok" for record in standing) == 10
    wait_until(lambda: "failures" in flooded.status()["troubles"])
    assert "more than their share" in flooded.daemon_log()
    assert "results.failed.jsonl" in dropsight("logs", "-c", str(flooded.config)).stderr
    assert path_apart(log).exists()
    wait_until(lambda: sum(in_journal(flooded).values()) <= 200 + 64)
    assert in_journal(flooded)["ok"] == 10


@pytest.mark.slow
def test_every_record_has_one_line_in_one_of_the_two_files_across_a_kill_and_a_full_disk(
    tmp_path: Path,
) -> None:
    log = tmp_path / "logs" / "results.jsonl"
    bounds = {"path": "logs/results.jsonl", "max_bytes": "40kB", "backups": 90, "compress": False}
    house = House(tmp_path, {"log": bounds})
    path_apart(log).parent.mkdir()
    with small_disk(tmp_path / "logs", size="400k") as disk:
        for number in range(90):
            (house.inbox / f"bad{number}.jpg").write_bytes(b"no picture")
            if number < 30:
                shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"good{number}.jpg")
        try:
            house.spawn(**{VARIABLE: "in_line:3"})
            house.ended()
            house.start()
            ballast = fill(disk)
            for number in range(40):
                (house.inbox / f"late{number}.jpg").write_bytes(b"no picture")
                shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"more{number}.jpg")
            wait_until(lambda: bool(house.status()["troubles"].get("log")))
            ballast.unlink()
            house.until(lambda: house.finished() >= 80 and not house.waiting())
            wait_until(lambda: not house.status()["troubles"].get("log"))
            assert house.stop() == 0
        finally:
            house.kill()
        usual, apart = ([json.loads(line) for line in lines_at(path)] for path in (log, path_apart(log)))
    names = [record["image_path"] for record in usual + apart]
    assert len(names) == len(set(names)) == 200
    assert {record["status"] for record in apart} == {"failed"}


def test_failed_lines_get_as_much_room_again_as_results_take(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    log.append([bad(number) for number in range(100)])
    share = len(numbers(tmp_path / "r.jsonl"))
    assert 0 < share * len(bad(0)) <= 1_000
    assert log.set_apart == 100 - share
    log.append([good(number) for number in range(5)])
    log.append([bad(number) for number in range(200, 204)])
    assert numbers(tmp_path / "r.jsonl")[-4:] == list(range(200, 204))
    log.close()


def test_lines_that_a_full_disk_takes_in_part_are_in_neither_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "main") as disk:
        log = log_at(disk, max_bytes=10**6)
        log.append([good(0)])
        elsewhere = tmp_path / "apart.jsonl"
        path_apart(disk / "r.jsonl").symlink_to(elsewhere)
        log.append([bad(number) for number in range(10_000)])
        before = numbers(disk / "r.jsonl"), numbers(path_apart(disk / "r.jsonl"))
        ballast = fill(disk)
        lines = [good(number) for number in range(900)] + [bad(number) for number in range(9_000)]
        with pytest.raises(SinkError):
            log.append(lines)
        assert (numbers(disk / "r.jsonl"), numbers(path_apart(disk / "r.jsonl"))) == before
        ballast.unlink()
        log.close()


def test_ids_are_found_in_both_files(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    log.append([good(0), *(bad(number) for number in range(1, 60))])
    ids = {f"{number:032}" for number in (0, 1, 59, 77)}
    assert log.recent_ids(ids) == ids - {f"{77:032}"}
    log.close()
    assert log_at(tmp_path).recent_ids(ids) == ids - {f"{77:032}"}


def test_failed_records_leave_the_journal_first_beyond_their_half_and_results_by_age(tmp_path: Path) -> None:
    store = Journal(tmp_path / "journal.db")
    statuses = ["ok"] * 40 + ["failed"] * 100 + ["ok"] * 10
    rows = [
        Row(str(number), b"/in", 1, 1, "c", status, b"{}")  # type: ignore[arg-type]
        for number, status in enumerate(statuses)
    ]
    store.add(rows)
    store.settle(totals=[], filed=range(1, 151), cursors={})
    assert store.prune(after=0, upto=150, keep=80) == (70, 60, 0)
    reader = JournalReader(store.path)
    left = [entry.status for entry in reader.pending(0, 1_000)]
    assert left == ["ok"] * 30 + ["failed"] * 40 + ["ok"] * 10
    reader.close()
    store.close()


@pytest.mark.parametrize(
    ("flood", "left"), [(100, {"still": 20, "flood": 60}), (50, {"still": 20, "flood": 50})]
)
def test_a_camera_s_flood_leaves_the_journal_before_the_records_of_others(
    tmp_path: Path, flood: int, left: dict[str, int]
) -> None:
    store = Journal(tmp_path / "journal.db")
    cameras = ["still"] * 20 + ["flood"] * flood
    store.add([Row(str(n), b"/in", 1, 1, camera, "ok", b"{}") for n, camera in enumerate(cameras)])
    store.settle(totals=[], filed=range(1, len(cameras) + 1), cursors={})
    store.prune(after=0, upto=len(cameras), keep=80)
    reader = JournalReader(store.path)
    assert Counter(entry.camera for entry in reader.pending(0, 1_000)) == left
    assert reader.newest() == len(cameras)
    reader.close()
    store.close()


def test_a_flood_is_told_once_a_minute_with_its_numbers_and_so_is_its_end() -> None:
    now = [1000.0]
    troubles = Troubles(logging.getLogger())
    flood = Flood(troubles, clock=lambda: now[0])
    flood.look(lines=0)
    assert not troubles.any()
    for lines in (1, 2, 3):
        flood.look(lines=lines)
    assert "1 lines" in troubles.current()["failures"]
    now[0] += TELL_SECONDS
    flood.forgot(7)
    flood.look(lines=3)
    assert "3 lines" in troubles.current()["failures"]
    assert "7 records" in troubles.current()["failures"]
    now[0] += TELL_SECONDS
    flood.look(lines=3)
    assert not troubles.any()
