"""Filing to another file system: bounded, holes and all, and in nobody's way."""

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, running
from disks import failing_disk, may_not_mark_files, small_disk
from dropsight.config import Watch
from dropsight.crashpoints import VARIABLE
from dropsight.files.beneath import Top, sync
from dropsight.files.disk import leave_room, sync_file, sync_folder
from dropsight.files.original import Original, identity
from dropsight.intake.candidate import COARSEST_NS, Candidate, wants_digest
from dropsight.intake.folder import DropFolder
from dropsight.journal.copying import Copying, TooLargeToCopyError, copy_across
from shares import OneFileShare


def original_of(folder: Path, name: str) -> tuple[Original, int]:
    """An image in a folder, and a descriptor of the folder that it goes to."""
    place = folder / "place"
    place.mkdir()
    fd = os.open(folder, os.O_PATH)
    expected = identity((folder / name).stat())
    original = Original.find(fd, str(folder / name), expected, "1" * 32, root=str(folder))
    assert original
    with Top.at(place).inside() as inner:
        return original, os.dup(inner)


def count(house: House, table: str) -> int:
    with closing(house.journal()) as db:
        found: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
    return found


@pytest.mark.slow
def test_a_file_of_a_terabyte_is_recorded_once_stays_where_it_is_and_is_not_touched_again(
    tmp_path: Path,
) -> None:
    """It is larger than an image may be, and failed is on another file system."""
    with small_disk(tmp_path / "failed", size="8m") as disk, running(tmp_path) as house:
        giant = house.inbox / "x.jpg"
        giant.touch()
        os.truncate(giant, 2**40)
        (house.inbox / "bad.jpg").write_bytes(b"no picture")
        wait_until(lambda: house.finished() == 2 and house.waiting() == [giant])
        wait_until(lambda: "x.jpg is left in place: renaming is impossible" in house.daemon_log())
        wait_until(lambda: house.counters()["waiting"] == 0)
        house.ask("rescan")
        shutil.copyfile(PHOTOS[0], house.inbox / "a.jpg")
        wait_until(lambda: house.finished() == 3)
        assert house.stop() == 0
        house.start()
        shutil.copyfile(PHOTOS[0], house.inbox / "b.jpg")
        wait_until(lambda: len(house.records()) == 4 and house.waiting() == [giant])
        assert sorted(path.name for path in disk.iterdir()) == ["bad.jpg", "bad.jpg.reason.json"]
        assert house.daemon_log().count("is left in place") == 1
        assert [record["image_path"] for record in house.records()].count("x.jpg") == 1
        assert count(house, "ledger") == 1
        giant.unlink()
        assert house.stop() == 0
        house.start()
        wait_until(lambda: count(house, "missed") == 1)  # and is forgotten a month later


def test_a_terabyte_on_the_same_file_system_is_renamed(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        (house.inbox / "x.jpg").touch()
        os.truncate(house.inbox / "x.jpg", 2**40)
        house.until(lambda: len(house.records()) == 1 and not house.waiting())
        assert (house.failed / "x.jpg").stat().st_size == 2**40


@pytest.mark.slow
def test_holes_stay_holes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "failed", size="2m") as disk, running(tmp_path) as house:
        image = house.inbox / "x.jpg"
        with (house.inbox / ".part").open("wb") as file:
            file.write(b"begin")
            file.seek(2**24)
            file.write(b"middle")
            file.truncate(2**25)
        (house.inbox / ".part").rename(image)
        content = image.read_bytes()
        house.until(lambda: not house.waiting())
        assert (disk / "x.jpg").read_bytes() == content
        assert (disk / "x.jpg").stat().st_blocks < 100


def padded(photo: Path, size: int) -> bytes:
    """A photo with so many bytes more, in comments."""
    data, comment = photo.read_bytes(), b"\xff\xfe\xff\xff" + bytes(65_533)
    return data[:2] + comment * (size // len(comment)) + data[2:]


def test_any_number_of_names_of_one_file_fill_no_disk_and_hold_up_no_record(tmp_path: Path) -> None:
    """Each is filed as a copy, of which its uploader has no byte: no quota of his is a bound."""
    with small_disk(tmp_path / "house", size="48m") as disk, running(disk) as house:
        for size, count in ((6 * 2**20, 12), (2**18, 30)):
            mine = disk / f"mine-{size}"
            mine.write_bytes(padded(PHOTOS[0], size))
            for number in range(count):
                os.link(mine, disk / "part")
                (disk / "part").rename(house.inbox / f"{size}-{number}.jpg")
        house.until(lambda: "filing" in house.status()["troubles"], what="too little room for them all")
        shutil.copy(PHOTOS[1], disk / "part")
        (disk / "part").rename(house.inbox / "other.jpg")
        house.until((house.processed / "other.jpg").exists, what="another image is filed")
        house.until(lambda: len(house.records()) == 43, what="all records")
        assert shutil.disk_usage(disk).free > 2**20


@pytest.mark.slow
def test_a_disk_that_does_not_answer_holds_up_no_record_of_what_goes_elsewhere(tmp_path: Path) -> None:
    with failing_disk(tmp_path / "failed") as disk, running(tmp_path) as house:
        disk.freeze(on=True)
        try:
            (house.inbox / "bad.jpg").write_bytes(b"no picture")
            wait_until(lambda: len(house.records()) == 1)
            for number in range(70):
                shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number}.jpg")
            wait_until(lambda: len(house.records()) == 71)
            wait_until(lambda: [path.name for path in house.waiting()] == ["bad.jpg"])
        finally:
            disk.freeze(on=False)
        house.until(lambda: not house.waiting())
        assert (disk.place / "bad.jpg").exists()
        assert house.stop() == 0
        assert len(house.records()) == 71


@pytest.mark.slow
def test_what_a_stop_leaves_uncopied_is_copied_in_the_next_life(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    with small_disk(tmp_path / "processed", size="64m"):
        for number in range(150):
            shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number}.jpg")
        try:
            house.start()
            wait_until(lambda: len(house.records()) > 100)
            assert house.stop() == 0
            house.start()
            house.until(lambda: not house.waiting())
        finally:
            house.kill()
        assert len(list(house.processed.iterdir())) == len(house.records()) == 150


def test_a_copy_that_is_stopped_in_the_middle_leaves_nothing_and_the_image_where_it_is(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 3_000_000)
    original, place = original_of(tmp_path, "a.jpg")

    def stops() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        copy_across(original, place, "a.jpg", part="part", copying=Copying(gets_on=stops))
    assert not list((tmp_path / "place").iterdir())
    assert (tmp_path / "a.jpg").stat().st_size == 3_000_000


def test_nothing_beyond_the_bound_is_copied(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 1_001)
    original, place = original_of(tmp_path, "a.jpg")
    with pytest.raises(TooLargeToCopyError, match="1001 bytes are more than is copied"):
        copy_across(original, place, "a.jpg", part="part", copying=Copying(max_bytes=1_000))
    assert not list((tmp_path / "place").iterdir())


@pytest.mark.slow
def test_a_disk_whose_files_are_another_user_s_gets_copies(tmp_path: Path) -> None:
    """On a stick with exFAT, or a share, mounted for all, rights and times are not ours to change."""
    house = House(tmp_path, {})
    house.under = may_not_mark_files()
    with small_disk(tmp_path / "processed", size="8m") as disk:
        shutil.copyfile(PHOTOS[0], house.inbox / "x.jpg")
        try:
            house.start()
            wait_until(lambda: not house.waiting(), what="the image is filed")
            assert house.status()["troubles"] == {}
            assert house.stop() == 0
        finally:
            house.kill()
        assert (disk / "x.jpg").read_bytes() == PHOTOS[0].read_bytes()


@pytest.mark.slow
def test_a_copy_on_a_disk_of_coarse_times_is_known_after_a_kill(tmp_path: Path) -> None:
    """FAT keeps them to two seconds: a second copy was made, and at the next kill none could be."""
    house = House(tmp_path, {})
    with small_disk(tmp_path / "processed", size="8m") as disk:
        shutil.copyfile(PHOTOS[0], house.inbox / "x.jpg")
        try:
            house.spawn(**{VARIABLE: "in_copying"})
            assert house.ended() == -9
            coarse = (disk / "x.jpg").stat().st_mtime_ns // COARSEST_NS * COARSEST_NS
            os.utime(disk / "x.jpg", ns=(coarse, coarse))
            house.start()
            wait_until(lambda: not house.waiting(), what="the image is filed")
            assert house.stop() == 0
        finally:
            house.kill()
        assert [path.name for path in disk.iterdir()] == ["x.jpg"]


def test_names_in_a_folder_that_cannot_be_synced_are_left_to_its_file_system() -> None:
    """VirtualBox's shared folders have no such call; nothing could be filed there."""
    with pytest.raises(OSError, match="Invalid argument"):
        sync_file("/proc/version")
    sync_folder("/proc")
    with Top.at("/proc").inside() as fd:
        sync(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_disk_that_counts_no_file_as_free_has_room(tmp_path: Path) -> None:
    """As rclone's, which have no number of them: nothing was ever filed there, as if it were full."""
    share = tmp_path / "share"
    share.mkdir()
    with OneFileShare(share, "a.jpg", b"image", reads=9):
        fd = os.open(share, os.O_RDONLY)
        try:
            assert (os.fstatvfs(fd).f_files, os.fstatvfs(fd).f_favail) == (10**9, 0)
            leave_room(fd, 2**20)
        finally:
            os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_that_its_share_has_numbered_anew_is_the_one_that_was_read(tmp_path: Path) -> None:
    """As sshfs does with what the kernel forgot: it counted as gone, and was recorded twice."""
    for place in (tmp_path / "share", tmp_path / "disk"):
        place.mkdir()
    (tmp_path / "disk" / "a.jpg").write_bytes(b"image")
    with OneFileShare(tmp_path / "share", "a.jpg", b"image", reads=9):
        found = [_found_anew(tmp_path / name / "a.jpg") for name in ("share", "disk")]
    assert found == [True, False]


def _found_anew(path: Path, *, seconds_later: int = 0, has_content: bool | None = None) -> bool:
    """Whether it counts as what had another number, and time."""
    device, inode, size, mtime_ns = identity(path.stat())
    fd = os.open(path.parent, os.O_RDONLY)
    asks = None if has_content is None else lambda _fd, _name: has_content
    try:
        expected = device, inode + 1, size, mtime_ns - seconds_later * 10**9
        found = Original.find(fd, str(path), expected, "1" * 32, root=str(path.parent), has_content=asks)
        return found is not None
    finally:
        os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_on_a_share_the_content_is_known_and_asked_where_it_tells_another_time(tmp_path: Path) -> None:
    """As rclone does of what others write over: for a second, the new picture has the former one's time."""
    for place in (tmp_path / "share", tmp_path / "disk"):
        place.mkdir()
    (tmp_path / "disk" / "a.jpg").write_bytes(b"image")
    with OneFileShare(tmp_path / "share", "a.jpg", b"image", reads=9, nanos=1):
        os.utime(tmp_path / "disk" / "a.jpg", ns=(1, 10**18 + 1))
        for name, is_shared in (("share", True), ("disk", False)):
            path = tmp_path / name / "a.jpg"
            candidate = Candidate(
                DropFolder.open(Watch(path=path.parent)), str(path), closed=True, ready_at=0.0
            )
            assert wants_digest(candidate, path.stat(), age_seconds=60.0) is is_shared
            assert _found_anew(path, seconds_later=1, has_content=True) is is_shared
            assert not _found_anew(path, seconds_later=1)
