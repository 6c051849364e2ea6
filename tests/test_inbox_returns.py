"""An inbox that goes away while its images wait to be filed, and comes back with them."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from PIL import Image

from brokers import wait_until
from daemons import PHOTOS, House, bounded_by, running
from disks import LoopDisk, small_disk, why_no_disk, write_protect
from dropsight.crashpoints import VARIABLE
from test_watch import SOON, trouble

COUNT = 12


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A daemon that walks every second, with its inbox and `processed` on disks of their own."""
    with small_disk(tmp_path / "disk"), small_disk(tmp_path / "processed"):
        house = House(tmp_path, {})
        house.under = bounded_by("dropsight.intake.scanner", RECONCILE_SECONDS=1.0)
        mount("--bind", tmp_path / "disk", house.inbox)
        try:
            house.start()
            yield house
        finally:
            house.kill()
            unmount(house.inbox)


def take_away(house: House, way: str) -> None:
    unmount(house.inbox)
    if way.startswith("the folder"):
        house.inbox.rmdir()
    if way == "another disk":
        mount("-t", "tmpfs", "tmpfs", house.inbox)


def bring_back(house: House, way: str) -> None:
    house.inbox.mkdir(exist_ok=True)
    if way == "another disk":
        unmount(house.inbox)
    if way == "numbered anew":
        mount("-t", "tmpfs", "tmpfs", house.inbox)
        subprocess.run(["cp", "--archive", f"{house.root}/disk/.", house.inbox], check=True)
    else:
        mount("--bind", house.root / "disk", house.inbox)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["unmounted", "the folder as well", "another disk", "numbered anew"])
def test_images_that_wait_to_be_filed_are_on_record_once_though_their_inbox_was_away(
    house: House, way: str
) -> None:
    """What was not there counted as taken by somebody, and was recorded anew when it was back."""
    (house.inbox / "cam").mkdir()
    write_protect(house.processed, on=True)
    for number in range(COUNT):
        shutil.copy(PHOTOS[0], house.inbox / "cam" / f"{number}.jpg")
    wait_until(lambda: len(house.records()) == COUNT)
    wait_until(lambda: "Read-only" in trouble(house, "filing"))
    take_away(house, way)
    wait_until(lambda: not trouble(house, "filing"), seconds=SOON)
    bring_back(house, way)
    write_protect(house.processed, on=False)
    wait_until(lambda: not any(house.waiting()), seconds=SOON)
    counts = Counter(record["image_path"] for record in house.records())
    assert counts == dict.fromkeys([f"cam/{number}.jpg" for number in range(COUNT)], 1)
    assert house.daemon_log().count(f"{house.inbox} is away") == 1
    assert len(list((house.processed / "cam").iterdir())) == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [1, 2])
def test_images_whose_inbox_is_away_at_a_start_are_on_record_once_when_it_is_back(
    house: House, restarts: int
) -> None:
    """Not there, they counted as filed; shares and sticks number files anew, which were recorded twice."""
    write_protect(house.processed, on=True)
    for number in range(COUNT):
        shutil.copy(PHOTOS[0], house.inbox / f"{number}.jpg")
    wait_until(lambda: len(house.records()) == COUNT)
    for _ in range(restarts):
        assert house.stop() == 0
        unmount(house.inbox)
        house.start()
    bring_back(house, "numbered anew")
    write_protect(house.processed, on=False)
    wait_until(lambda: not any(house.waiting()), seconds=SOON)
    counts = Counter(record["image_path"] for record in house.records())
    assert counts == dict.fromkeys([f"{number}.jpg" for number in range(COUNT)], 1)
    assert len(list(house.processed.iterdir())) == COUNT


@pytest.mark.slow
def test_an_image_that_was_taken_away_is_recorded_anew_where_one_just_like_it_is_dropped(
    house: House,
) -> None:
    """Nobody's drop may be taken for one that is on record."""
    write_protect(house.processed, on=True)
    image = house.inbox / "a.jpg"
    Path(shutil.copy2(PHOTOS[0], house.inbox / ".a")).rename(image)
    wait_until(lambda: "Read-only" in trouble(house, "filing"))
    image.unlink()
    wait_until(lambda: not trouble(house, "filing"), seconds=SOON)
    Path(shutil.copy2(PHOTOS[0], house.inbox / ".a")).rename(image)
    wait_until(lambda: len(house.records()) == 2)
    write_protect(house.processed, on=False)
    wait_until(lambda: not any(house.waiting()), seconds=SOON)
    assert len({record["id"] for record in house.records()}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("is_unmounted_at_once", [False, True])
def test_an_image_is_on_record_once_though_its_disk_was_pulled_out_just_after_it_was_filed(
    tmp_path: Path, *, is_unmounted_at_once: bool
) -> None:
    """What the kernel had not written, the filing, was undone, and the image recorded anew."""
    if why := why_no_disk(tmp_path, "ext4"):
        pytest.skip(why)
    house = House(tmp_path, {})
    later = ("dropsight.journal.filing_threads", {"SYNC_SECONDS": 3.0})
    house.under = bounded_by("dropsight.intake.scanner", later, RECONCILE_SECONDS=1.0)
    house.inbox.rmdir()
    disk = LoopDisk(house.inbox, "ext4")
    disk.mount()
    try:
        house.start()
        drop_for_good(PHOTOS[0], house.inbox / "a.jpg")
        wait_until(lambda: len(house.records()) == 1 and not any(house.waiting()))
        disk.pull()
        if is_unmounted_at_once:
            unmount(house.inbox)
            wait_until(lambda: is_filed(house))
        else:
            wait_until(lambda: "power failure" in trouble(house, "syncing"))
            unmount(house.inbox)
        disk.plug_in()
        assert [path.name for path in house.waiting()] == ["a.jpg"]
        wait_until(lambda: not any(house.waiting()), seconds=SOON)
        drop_for_good(PHOTOS[1], house.inbox / "b.jpg")
        wait_until(lambda: names_in(house.processed) == ["a.jpg", "b.jpg"], seconds=SOON)
        assert [record["image_path"] for record in house.records()] == ["a.jpg", "b.jpg"]
    finally:
        house.kill()
        unmount(house.inbox)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_filed(house: House) -> bool:
    """Whether its only record is of an image that counts as filed."""
    shutil.rmtree(house.root / "copy", ignore_errors=True)
    with contextlib.suppress(shutil.Error, sqlite3.Error):  # what was copied was written to meanwhile
        return house.journal().execute("SELECT filed FROM record").fetchall() == [(1,)]
    return False


def drop_for_good(photo: Path, image: Path) -> None:
    """As one who syncs what he brings."""
    fd = os.open(Path(shutil.copy2(photo, image.with_name(".part"))).rename(image), os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


@pytest.mark.slow
@pytest.mark.parametrize("is_taken_away", [False, True])
def test_another_picture_of_the_same_size_and_whole_second_gets_its_own_record_after_a_kill(
    tmp_path: Path, *, is_taken_away: bool
) -> None:
    """It was filed with the record of the one that it had replaced, and never recorded."""
    house = House(tmp_path, {})
    pictures = [_dated(tmp_path / f"{shade}.bmp", shade) for shade in (40, 200)]
    image = house.inbox / "a.bmp"
    shutil.copy2(pictures[0], image)
    try:
        house.spawn(**{VARIABLE: "after_commit"})
        assert house.ended() < 0
        if is_taken_away:
            image.unlink()
            house.start()
        Path(shutil.copy2(pictures[1], house.inbox / ".a")).rename(image)
        if not is_taken_away:
            house.start()
        wait_until(lambda: len({record["id"] for record in house.records()}) == 2)
        wait_until(lambda: not any(house.waiting()))
        filed = [path.read_bytes() for path in house.processed.iterdir()]
        assert filed == [pictures[1].read_bytes()]
    finally:
        house.kill()


@pytest.mark.slow
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_several_records_of_one_name_that_a_kill_left_unnoted_have_its_next_image_recorded_once(
    tmp_path: Path, *, is_elsewhere: bool
) -> None:
    """Each of them let go of the name, so that two workers had the image in hand at once, and ended of it."""
    disk = small_disk(tmp_path / "processed") if is_elsewhere else nullcontext()
    with disk, running(tmp_path) as house:
        for count in range(1, 4):
            _replace(house.inbox / "latest.jpg", count)
            wait_until(lambda: len(house.records()) == count and not house.waiting())  # noqa: B023 - at once
        assert house.stop() == 0
        with closing(sqlite3.connect(tmp_path / "state" / "journal.db", isolation_level=None)) as journal:
            journal.execute("UPDATE record SET filed = 0")
        _replace(house.inbox / "latest.jpg", 4)
        house.start()
        wait_until(lambda: len(house.records()) >= 4 and not house.waiting())
        assert house.taking()
        paths = [record["image_path"] for record in house.records()]
        assert paths.count("latest.jpg") == 4
        assert "internal error" not in house.daemon_log()
        assert house.stop() == 0


def _replace(image: Path, number: int) -> None:
    shutil.copy(PHOTOS[number], image.with_name(".new"))
    image.with_name(".new").rename(image)


def _dated(path: Path, shade: int) -> Path:
    Image.new("RGB", (320, 240), (shade, shade, shade)).save(path)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path
