"""The daemon's memory stays flat."""

import shutil
from pathlib import Path

import pytest

from brokers import mosquitto, wait_until
from daemons import PHOTOS, House, running

MIB = 2**20


def feed(house: House, count: int, *, batch: str) -> int:
    """Let so many images through; return the resident bytes afterwards."""
    before = house.finished()
    for number in range(count):
        shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{batch}-{number}.jpg")
    wait_until(lambda: house.finished() == before + count, seconds=120)
    resident: int = house.status()["stats"]["memory_bytes"]
    return resident


@pytest.mark.broker
@pytest.mark.slow
def test_1000_images_leave_at_most_130_mb_resident_and_1000_more_add_nothing(tmp_path: Path) -> None:
    """A heap's usual breathing of 4 MiB is no growth."""
    with mosquitto(tmp_path) as broker, running(tmp_path, mqtt={"url": broker.url}) as house:
        first = feed(house, 1000, batch="first")
        second = feed(house, 1000, batch="second")
    assert first <= 130e6
    assert second <= first + 4 * MIB
