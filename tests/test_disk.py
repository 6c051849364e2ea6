"""Disks that are full, write-protected, elsewhere or damaged: waited for, said, and nothing lost."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, running
from disks import failing_disk, fill, may_not_unlink, small_disk, write_protect
from dropsight.crashpoints import VARIABLE
from supervisors import Supervisor


def drop(house: House, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number:03}.jpg")


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
        house.until(lambda: house.finished() == 20)
        wait_until(lambda: "No space left on device" in trouble(house, "log"))
        wait_until(lambda: not house.waiting())
        ballast.unlink()
        wait_until(lambda: len(house.records()) == 20)
        wait_until(lambda: not trouble(house, "log"))
        assert names(house) == [f"{number:03}.jpg" for number in range(20)]
        assert house.daemon_log().count("results.jsonl cannot be written") == 1
        assert "log: recovered" in house.daemon_log()


@pytest.mark.slow
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
        house.until(lambda: house.finished() == 65)
        wait_until(lambda: not trouble(house, "journal"))
        assert names(house) == [f"{number:03}.jpg" for number in range(65)]


def test_a_full_disk_under_processed_keeps_the_images_in_the_inbox_and_moves_them_later(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "processed") as disk, running(tmp_path) as house:
        ballast = fill(disk)
        drop(house, 8)
        wait_until(lambda: len(house.records()) == 8)
        wait_until(lambda: "cannot store finished images: No space left" in trouble(house, "filing"))
        assert len(house.waiting()) == 8
        assert house.counters()["waiting"] == 8
        ballast.unlink()
        house.until(lambda: not house.waiting())
        assert names(house) == [f"{number:03}.jpg" for number in range(8)]
        assert {path.name for path in disk.iterdir()} == set(names(house))


@pytest.mark.slow
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
        house.until(lambda: not house.waiting())
        assert len(house.records()) == 3


@pytest.mark.slow
def test_a_write_protected_processed_folder_is_waited_for(tmp_path: Path) -> None:
    with small_disk(tmp_path / "processed") as disk, running(tmp_path) as house:
        write_protect(disk, on=True)
        drop(house, 3)
        wait_until(lambda: "Read-only file system" in trouble(house, "filing"))
        write_protect(disk, on=False)
        house.until(lambda: not house.waiting())
        assert len(house.records()) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("place", "part"), [("logs", "log"), ("state", "journal")])
def test_a_disk_that_fails_under_the_daemon_is_waited_for_and_nothing_is_lost_once_it_is_mended(
    tmp_path: Path, place: str, part: str
) -> None:
    """The kernel mounts it read-only under open files, and only a mount anew helps."""
    with failing_disk(tmp_path / place) as disk, running(tmp_path) as house:
        drop(house, 3)
        wait_until(lambda: house.finished() == 3)
        disk.fail()
        drop(house, 9, start=3)
        wait_until(lambda: bool(trouble(house, part)))
        assert house.stop() == 0
        disk.repair()
        house.start()
        wait_until(lambda: len(house.records()) == 12)
        house.until(lambda: not house.waiting())
        assert names(house) == [f"{number:03}.jpg" for number in range(12)]


@pytest.mark.parametrize("place", ["logs", "state", "processed"])
def test_a_daemon_that_starts_on_a_write_protected_disk_waits_and_begins_by_itself(
    tmp_path: Path, place: str
) -> None:
    house = House(tmp_path, {})
    with small_disk(tmp_path / place) as disk:
        write_protect(disk, on=True)
        drop(house, 2)
        house.spawn()
        try:
            wait_until(lambda: "Read-only file system" in house.daemon_log())
            assert len(house.waiting()) == 2
            write_protect(disk, on=False)
            wait_until(lambda: len(house.records()) == 2)
        finally:
            house.kill()


@pytest.mark.slow
def test_a_hangup_while_the_start_waits_for_a_disk_reads_the_config_again_and_burns_nothing(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, {})
    with small_disk(tmp_path / "logs") as disk:
        write_protect(disk, on=True)
        house.spawn()
        try:
            wait_until(lambda: "Read-only file system" in house.daemon_log())
            assert house.process
            house.config.write_text("nonsense: 1\n")
            house.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "unknown key" in house.daemon_log())
            assert cpu_share(house.process.pid, seconds=2) < 0.5
            house.config.write_text("{device: test, mqtt: null, log: {path: elsewhere/results.jsonl}}\n")
            house.process.send_signal(signal.SIGHUP)
            drop(house, 1)
            wait_until((tmp_path / "elsewhere" / "results.jsonl").exists)
            house.until(lambda: not house.waiting())
            assert house.stop() == 0
        finally:
            house.kill()


def cpu_share(pid: int, *, seconds: float) -> float:
    """The share of one core that a process takes for so long."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = used(), time.monotonic()
    time.sleep(seconds)
    return (used() - before) / (time.monotonic() - began)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "part"), [("logs", "log"), ("state", "journal"), ("processed", "filing")])
def test_waiting_for_a_full_disk_costs_next_to_nothing_and_systemd_hears_of_it(
    tmp_path: Path, place: str, part: str
) -> None:
    with small_disk(tmp_path / place, size="16m") as disk, supervised(tmp_path) as (house, supervisor):
        drop(house, 2)
        wait_until(lambda: house.finished() == 2)
        ballast = fill(disk)
        drop(house, 60, start=2)
        wait_until(lambda: bool(trouble(house, part)))
        wait_until(lambda: trouble(house, part) in supervisor.lines("STATUS")[-1])
        assert house.process
        wait_until(lambda: cpu_share(house.process.pid, seconds=1) < 0.2)  # type: ignore[union-attr]
        said = house.daemon_log().count(trouble(house, part))
        assert said == 1
        ballast.unlink()
        house.until(lambda: house.finished() == 62 and not trouble(house, part))
        wait_until(lambda: "No space" not in supervisor.lines("STATUS")[-1])
        assert house.stop() == 0
        assert names(house) == [f"{number:03}.jpg" for number in range(62)]


@contextmanager
def supervised(root: Path) -> Iterator[tuple[House, Supervisor]]:
    """A daemon that tells systemd, and what systemd hears."""
    supervisor, house = Supervisor(root / "notify"), House(root, {})
    house.spawn(NOTIFY_SOCKET=supervisor.path)
    try:
        wait_until(lambda: bool(supervisor.lines("READY")))
        yield house, supervisor
    finally:
        house.kill()
        supervisor.close()


@pytest.mark.slow
def test_a_start_with_a_full_disk_under_the_log_goes_on_from_the_journal(tmp_path: Path) -> None:
    with small_disk(tmp_path / "logs", size="64k") as disk, running(tmp_path) as house:
        ballast = fill(disk)
        drop(house, 30)
        house.until(lambda: house.finished() == 30)
        assert house.stop() == 0
        house.start()
        assert "No space left" in trouble(house, "log")
        ballast.unlink()
        wait_until(lambda: len(house.records()) == 30)
        assert len(set(names(house))) == 30


@pytest.mark.slow
def test_a_part_of_a_copy_that_was_killed_goes_at_the_next_start_where_the_image_is_another(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, {})
    with small_disk(tmp_path / "processed", size="16m") as disk:
        drop(house, 1)
        try:
            house.spawn(**{VARIABLE: "before_copied"})
            assert house.ended() == -9
            (part,) = disk.iterdir()
            assert part.name.endswith(".dropsight-part")
            (image,) = house.waiting()
            image.write_bytes(PHOTOS[1].read_bytes())
            house.start()
            house.until(lambda: not house.waiting())
        finally:
            house.kill()
        assert [path.name for path in disk.iterdir()] == [image.name]
    assert len(house.records()) == 2


@pytest.mark.slow
def test_processed_on_another_disk_gets_each_file_once_though_the_copying_was_killed(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    with small_disk(tmp_path / "processed", size="16m") as disk:
        drop(house, 4)
        try:
            house.spawn(**{VARIABLE: "in_copying:2"})
            assert house.ended() == -9
            house.start()
            house.until(lambda: not house.waiting())
        finally:
            house.kill()
        assert sorted(path.name for path in disk.iterdir()) == [f"{number:03}.jpg" for number in range(4)]
        for path in disk.iterdir():
            assert path.read_bytes() == PHOTOS[int(path.stem)].read_bytes()
    assert len(house.records()) == 4


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_image_that_cannot_be_deleted_waits_under_its_name_and_goes_once_it_can(tmp_path: Path) -> None:
    """It stayed for ever, hidden, and counted as deleted."""
    house = House(tmp_path, {"watch": [{"path": "inbox", "after": "delete"}]})
    house.under = may_not_unlink()
    try:
        house.start()
        drop(house, 3)
        wait_until(lambda: len(house.records()) == 3)
        wait_until(lambda: "Input/output error" in trouble(house, "filing"))
        assert house.stop() == 0
        assert sorted(path.name for path in house.waiting()) == names(house)
        house.under = ()
        house.start()
        wait_until(lambda: not house.waiting())
        assert names(house) == ["000.jpg", "001.jpg", "002.jpg"]
    finally:
        house.kill()
