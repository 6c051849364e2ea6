"""Disks that are pulled out, and plugged in again, while the daemon runs."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, bounded_by
from disks import LoopDisk, small_disk, why_no_disk
from test_watch import trouble

COUNT = 3
UNDELIVERED = "SELECT count(*) FROM record WHERE seq > (SELECT seq FROM cursor WHERE name = 'mqtt')"


def unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


@pytest.fixture
def log_disk(tmp_path: Path) -> Iterator[LoopDisk]:
    if why := why_no_disk(tmp_path, "ext4"):
        pytest.skip(why)
    disk = LoopDisk(tmp_path / "logs", "ext4")
    disk.mount()
    yield disk
    unmount(disk.place)


def drop(house: House, numbers: range) -> None:
    for number in numbers:
        shutil.copy(PHOTOS[number], house.inbox / f"{number}.jpg")


@pytest.mark.slow
@pytest.mark.parametrize("is_unmounted_at_once", [False, True])
def test_each_record_has_a_line_though_the_log_s_disk_was_pulled_out_before_it_was_synced(
    tmp_path: Path, log_disk: LoopDisk, *, is_unmounted_at_once: bool
) -> None:
    """Once a sync had failed, the next one spoke for lines of which the disk had none."""
    house = House(tmp_path, {})
    house.under = bounded_by("dropsight.journal.loglines", SYNC_SECONDS=3.0)
    try:
        house.start()
        drop(house, range(COUNT))
        wait_until(lambda: len(house.records()) == COUNT)
        log_disk.pull()
        if not is_unmounted_at_once:
            wait_until(lambda: "Input/output error" in trouble(house, "log"))
        unmount(log_disk.place)
        log_disk.plug_in()
        assert len(house.records()) < COUNT
        drop(house, range(COUNT, COUNT + 1))
        wait_until(lambda: len(house.records()) == COUNT + 1 and not trouble(house, "log"))
        paths = [record["image_path"] for record in house.records()]
        assert sorted(paths) == [f"{number}.jpg" for number in range(COUNT + 1)]
    finally:
        house.kill()


@pytest.mark.slow
def test_what_the_state_s_disk_has_for_the_broker_outlives_a_start_without_that_disk(tmp_path: Path) -> None:
    """Mounted under the running daemon, its journal was set aside as if it were damaged."""
    state, house = tmp_path / "state", House(tmp_path, {"mqtt": {"url": "mqtt://127.0.0.1:9"}})
    with small_disk(tmp_path / "disk", size="16m") as disk:
        shutil.copytree(state, disk, dirs_exist_ok=True)
        bind = ["mount", "--bind", str(disk), str(state)]
        subprocess.run(bind, check=True)
        try:
            house.start()
            drop(house, range(COUNT))
            wait_until(lambda: len(house.records()) == COUNT)
            assert house.stop() == 0
            unmount(state)
            house.start()
            drop(house, range(COUNT, 2 * COUNT))
            wait_until(lambda: len(house.records()) == 2 * COUNT)
            subprocess.run(bind, check=True)
            drop(house, range(2 * COUNT, 2 * COUNT + 1))
            assert house.ended() == 1
            house.start()
            wait_until(lambda: len(house.records()) == 2 * COUNT + 1)
            assert house.stop() == 0
            [(waiting,)] = house.journal().execute(UNDELIVERED)
            assert waiting == 2 * COUNT + 1
        finally:
            house.kill()
            unmount(state)
