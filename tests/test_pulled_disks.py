"""Disks that are pulled out, and plugged in again, while the daemon runs."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, bounded_by
from disks import LoopDisk, why_no_disk
from test_watch import trouble

COUNT = 3


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
