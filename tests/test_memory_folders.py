"""Folders that lie in memory (tmpfs): what is filed there counts as the service's memory."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight
from disks import small_disk
from test_watch import SOON, is_taken, trouble

MIB = 2**20
COUNT, SEGMENTS = 30, 160
_INTO_GROUP = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


class MemoryGroup:
    """A control group of its own, as systemd makes one for a service."""

    def __init__(self, name: str, *, most_bytes: int) -> None:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        mine = next((group for _, kinds, group in lines if kinds == "memory"), None)
        if mine is None:
            pytest.skip("needs a control group for memory that has others below it (cgroup v1)")
        self.place = Path("/sys/fs/cgroup/memory") / mine.strip("/") / name
        try:
            self.place.mkdir()
            self.bound(most_bytes)
        except OSError as error:
            pytest.skip(f"no control group can be made: {error.strerror}")

    def bound(self, most_bytes: int) -> None:
        (self.place / "memory.limit_in_bytes").write_text(str(most_bytes))

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.place.rmdir()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MemoryGroup]:
    group = MemoryGroup(f"dropsight-{os.getpid()}-{tmp_path.name[-2:]}", most_bytes=400 * MIB)
    yield group
    group.remove()


@pytest.fixture
def house(tmp_path: Path, group: MemoryGroup) -> Iterator[House]:
    """A service with a bound, `processed` in memory, and another inbox that has it on a disk."""
    other = {"path": "other/inbox", "processed": "other/processed", "failed": "other/failed"}
    with small_disk(tmp_path / "processed", size="1g"):
        house = House(tmp_path, {"watch": [{"path": "inbox"}, other]})
        house.under = ["/bin/sh", "-c", _INTO_GROUP, str(group.place)]
        yield house
        house.kill()
        group.remove()


def large(photo: Path) -> bytes:
    """A photo of 10 MB: with comments, as much as they hold."""
    data = photo.read_bytes()
    return data[:2] + SEGMENTS * (b"\xff\xfe\xff\xff" + os.urandom(0xFFFD)) + data[2:]


@pytest.mark.slow
def test_filing_into_memory_stops_before_the_kernel_ends_the_service_and_goes_on_when_there_is_more(
    house: House, group: MemoryGroup
) -> None:
    """It was killed, and again at each start."""
    house.start()
    assert f"watch.0.processed: {house.processed} lies in memory (tmpfs)" in house.daemon_log()
    data = large(PHOTOS[0])
    for number in range(COUNT):
        (house.inbox / f"{number:02}.jpg").write_bytes(data)
    house.until(lambda: len(house.records()) == COUNT)
    wait_until(lambda: "it lies in memory, of which too little is left" in trouble(house, "filing"))
    is_taken(Path(shutil.copy(PHOTOS[1], house.root / "other" / "inbox")))
    assert 0 < len(list(house.processed.iterdir())) < COUNT
    group.bound(900 * MIB)
    wait_until(lambda: not house.waiting(), seconds=SOON)
    assert len(house.records()) == COUNT + 1
    wait_until(lambda: not trouble(house, "filing"))


def test_check_says_which_folders_can_take_more_memory_than_there_is(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    with small_disk(tmp_path / "processed"):
        done = dropsight("check", "-c", str(house.config))
        assert "lies in memory" not in done.stdout
    with small_disk(tmp_path / "state", size="900g"):
        done = dropsight("check", "-c", str(house.config))
    assert f"warn  folders  store.path: {tmp_path}/state lies in memory (tmpfs), may take " in done.stdout
