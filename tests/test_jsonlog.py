"""The rolling JSON log."""

import gzip
import json
import os
from pathlib import Path

import pytest

from brokers import wait_until
from disks import fill, small_disk
from dropsight.errors import SinkError
from dropsight.journal.jsonlog import JsonLog


def line(number: int) -> bytes:
    found = {"status": "ok", "schema": "dropsight/1", "id": f"{number:032}", "text": "x" * 20}
    return json.dumps(found, separators=(",", ":")).encode()


def log_at(folder: Path, *, max_bytes: int = 1_000_000, backups: int = 3, compress: bool = True) -> JsonLog:
    return JsonLog(folder / "r.jsonl", max_bytes=max_bytes, backups=backups, compress=compress)


def numbers_in(path: Path) -> list[int]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [int(json.loads(each)["id"]) for each in data.splitlines()]


def test_it_rotates_by_size_compresses_and_keeps_so_many(tmp_path: Path) -> None:
    log = log_at(tmp_path, max_bytes=10 * (len(line(0)) + 1))
    for number in range(65):
        log.append([line(number)])
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "r.jsonl", "r.jsonl.1.gz", "r.jsonl.2.gz", "r.jsonl.3.gz",
    ]  # fmt: skip
    assert numbers_in(tmp_path / "r.jsonl") == list(range(60, 65))
    assert numbers_in(tmp_path / "r.jsonl.1.gz") == list(range(50, 60))
    assert numbers_in(tmp_path / "r.jsonl.3.gz") == list(range(30, 40))


def test_without_backups_only_the_active_file_is_there(tmp_path: Path) -> None:
    log = log_at(tmp_path, max_bytes=100, backups=0)
    for number in range(10):
        log.append([line(number)])
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


@pytest.mark.parametrize(
    "half", [line(1)[:1], line(1)[:9], line(1)[:40], line(1), bytes(50), line(1) + b"\0"]
)
def test_half_a_line_of_a_crash_is_cut_off_at_the_start(tmp_path: Path, half: bytes) -> None:
    (tmp_path / "r.jsonl").write_bytes(line(0) + b"\n" + half)
    log = log_at(tmp_path)
    log.append([line(2)])
    log.close()
    assert numbers_in(tmp_path / "r.jsonl") == [0, 2]


@pytest.mark.parametrize("ending", ["", "\n"])
def test_what_another_program_wrote_stays_and_ours_begin_lines_of_their_own(
    tmp_path: Path, ending: str
) -> None:
    foreign = f'{{"note":"rotated"}}{ending}'.encode()
    path = tmp_path / "r.jsonl"
    path.write_bytes(foreign)
    log = log_at(tmp_path)
    log.append([line(0)])
    with path.open("ab") as other:
        other.write(foreign)
    log.append([line(1)])
    log.append([line(2)])
    log.close()
    note = foreign.strip()
    assert path.read_bytes().splitlines() == [note, line(0), note, line(1), line(2)]


def test_a_block_that_a_full_disk_takes_half_of_leaves_nothing_behind(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        log = log_at(disk, max_bytes=10**9)
        log.append([line(0)])
        ballast = fill(disk)
        with pytest.raises(SinkError):
            log.append([line(number) for number in range(1000)])
        ballast.unlink()
        log.append([line(1)])
        log.close()
        assert numbers_in(disk / "r.jsonl") == [0, 1]


def test_half_a_compressed_file_of_a_crash_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl.1").write_bytes(line(0) + b"\n")
    (tmp_path / "r.jsonl.1.gz.part").write_bytes(b"half")
    log_at(tmp_path).close()
    assert not (tmp_path / "r.jsonl.1.gz.part").exists()
    assert numbers_in(tmp_path / "r.jsonl.1.gz") == [0]


def test_no_start_takes_away_what_logrotate_called_as_a_compressed_file_of_ours(tmp_path: Path) -> None:
    """A start compressed logrotate's `.1`; its next `.1` went at the start after that, with all lines."""
    for day in range(4):
        log = log_at(tmp_path)
        log.append([line(day)])
        log.close()
        if (tmp_path / "r.jsonl.1").exists():
            (tmp_path / "r.jsonl.1").rename(tmp_path / "r.jsonl.2")
        (tmp_path / "r.jsonl").rename(tmp_path / "r.jsonl.1")
    log_at(tmp_path).close()
    found = [number for path in tmp_path.iterdir() for number in numbers_in(path)]
    assert sorted(found) == [0, 1, 2, 3]


def test_both_forms_of_a_file_that_a_crash_left_become_one(tmp_path: Path) -> None:
    lines = line(0) + b"\n" + line(1) + b"\n"
    (tmp_path / "r.jsonl.1").write_bytes(lines)
    (tmp_path / "r.jsonl.1.gz").write_bytes(gzip.compress(lines))
    log_at(tmp_path, compress=False).close()
    assert not (tmp_path / "r.jsonl.1").exists()
    assert numbers_in(tmp_path / "r.jsonl.1.gz") == [0, 1]


def test_what_logrotate_names_anew_while_its_former_file_is_compressed_stays(tmp_path: Path) -> None:
    noise = os.urandom(30_000_000)
    (tmp_path / "r.jsonl.1").write_bytes(noise)
    log = log_at(tmp_path)
    wait_until((tmp_path / "r.jsonl.1.gz.part").exists)
    (tmp_path / "r.jsonl.1").rename(tmp_path / "r.jsonl.2")
    (tmp_path / "r.jsonl.1").write_bytes(line(1) + b"\n")
    log.close()
    assert (tmp_path / "r.jsonl.2").read_bytes() == noise
    assert numbers_in(tmp_path / "r.jsonl.1") == [1]


def test_what_a_crash_left_uncompressed_is_compressed_at_the_next_start(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"r.jsonl.{number}").write_bytes(line(number) + b"\n")
    log_at(tmp_path).close()
    assert [numbers_in(tmp_path / f"r.jsonl.{number}.gz") for number in (1, 2)] == [[1], [2]]
    assert not (tmp_path / "r.jsonl.1").exists()


def test_a_damaged_backup_stops_no_start(tmp_path: Path) -> None:
    log = log_at(tmp_path, max_bytes=10 * (len(line(0)) + 1))
    for number in range(15):
        log.append([line(number)])
    log.close()
    packed = (tmp_path / "r.jsonl.1.gz").read_bytes()
    for damaged in (packed[:-20], b"no gzip", packed[:12] + bytes(len(packed) - 12), b""):
        (tmp_path / "r.jsonl.1.gz").write_bytes(damaged)
        log = log_at(tmp_path)
        assert f"{12:032}" in log.recent_ids({f"{12:032}"})
        log.close()


def test_a_copy_by_date_that_cannot_be_read_stops_no_start(tmp_path: Path) -> None:
    """As root's own copy of the log cannot, or one that is taken away just then."""
    log = log_at(tmp_path)
    log.append([line(0)])
    (tmp_path / "r.jsonl-20261130").mkdir()
    (tmp_path / "r.jsonl-20261129").symlink_to("nowhere")
    assert log.recent_ids({f"{0:032}", f"{1:032}"}) == {f"{0:032}"}
    log.close()


def test_it_follows_a_file_that_somebody_renamed(tmp_path: Path) -> None:
    log = log_at(tmp_path)
    log.append([line(0)])
    (tmp_path / "r.jsonl").rename(tmp_path / "away")
    log.append([line(1)])
    log.close()
    assert numbers_in(tmp_path / "r.jsonl") == [1]


def test_recent_ids_are_found_in_the_active_file_and_the_newest_backup(tmp_path: Path) -> None:
    log = log_at(tmp_path, max_bytes=10 * (len(line(0)) + 1))
    for number in range(15):
        log.append([line(number)])
    ids = {f"{number:032}" for number in (3, 12, 77)}
    assert log.recent_ids(ids) == {f"{3:032}", f"{12:032}"}
    log.close()
    assert log_at(tmp_path).recent_ids(ids) == {f"{3:032}", f"{12:032}"}


def test_copies_beyond_ours_are_deleted_with_a_line_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They may be logrotate's, which went without a word."""
    log = log_at(tmp_path, max_bytes=10 * (len(line(0)) + 1), compress=False)
    for number in range(45):  # four of ours, of which one went as ever
        log.append([line(number)])
    assert not caplog.messages
    for _ in range(2):
        for number in (12, 20):
            (tmp_path / f"r.jsonl.{number}").write_bytes(line(number) + b"\n")
        for number in range(10):
            log.append([line(number)])
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "r.jsonl", "r.jsonl.1", "r.jsonl.2", "r.jsonl.3",
    ]  # fmt: skip
    (said,) = caplog.messages
    assert "r.jsonl.12, and all up to r.jsonl.20, are deleted: log.backups is 3" in said


def test_a_place_that_takes_no_file_is_an_error_naming_the_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"log\.path: .* cannot be written"):
        log_at(tmp_path / "file")
