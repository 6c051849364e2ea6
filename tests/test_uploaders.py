"""One uploader among others: whatever he leaves in the inbox, the others' images are served."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, running
from disks import fill, small_disk
from dropsight.intake.backlog import Backlog
from test_closed_folders import OTHERS, UNPRIVILEGED
from tiny_tflite import quick

MANY = Backlog().capacity + 88
DATA = PHOTOS[0].read_bytes()


def is_served(house: House, name: str) -> bool:
    """Drop an image of another camera and wait for its record."""
    (house.inbox / "other").mkdir(exist_ok=True)
    shutil.copy(PHOTOS[1], house.inbox / "other" / name)
    wait_until(lambda: f"other/{name}" in {record["image_path"] for record in house.records()})
    return True


def crowd(house: House) -> str:
    return str(house.status()["troubles"].get("crowd", ""))


def greedy_files(house: House) -> list[Path]:
    (house.inbox / "greedy").mkdir()
    return [house.inbox / "greedy" / f"{number:03}.jpg" for number in range(MANY)]


@pytest.mark.slow
def test_files_that_are_held_open_leave_their_places_to_others_and_are_taken_when_they_are_whole(
    tmp_path: Path,
) -> None:
    with running(tmp_path, model={"path": str(quick(tmp_path))}) as house:
        with ExitStack() as stack:
            for path in greedy_files(house):
                file = stack.enter_context(path.open("wb", buffering=0))
                file.write(DATA)
            wait_until(lambda: bool(crowd(house)))
            assert crowd(house) == (
                "greedy: 128 files are held open by their writers, still change, are large, or wait for a"
                " sidecar: further ones of the same camera have to wait"
            )
            assert is_served(house, "meanwhile.jpg")
        house.until(lambda: not house.waiting())
        wait_until(lambda: not crowd(house))
        assert len(house.records()) == MANY + 1
        assert house.daemon_log().count("greedy: 128 files") == 1


@contextmanager
def touched_again_and_again(paths: list[Path]) -> Iterator[None]:
    over = threading.Event()

    def touch() -> None:
        # Faster, it would on a slow machine only keep the workers from its other files.
        while not over.wait(4.0):
            for path in paths:
                path.write_bytes(DATA[:1000])

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        yield
    finally:
        over.set()
        toucher.join()


@pytest.mark.slow
def test_files_that_are_touched_again_and_again_leave_their_turns_to_others(tmp_path: Path) -> None:
    watch, model = [{"path": "inbox", "settle_seconds": 10.0}], {"path": str(quick(tmp_path))}
    with running(tmp_path, watch=watch, model=model) as house:
        with touched_again_and_again(greedy_files(house)):
            wait_until(lambda: bool(crowd(house)))
            assert all(is_served(house, f"{number}.jpg") for number in range(3))
        house.until(lambda: not house.waiting())
        assert len(house.records()) == MANY + 3


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_files_that_may_not_be_read_leave_their_places_to_others(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    house.under = UNPRIVILEGED
    with small_disk(house.failed, size="16m"):
        house.start()
        try:
            for path in greedy_files(house):
                path.touch(mode=0)
                os.utime(path, (1, 1))
                os.chown(path, OTHERS, OTHERS)
            wait_until(lambda: bool(crowd(house)))
            assert is_served(house, "meanwhile.jpg")
            for path in greedy_files_of(house):
                path.chmod(0o644)
                os.chown(path, 0, 0)
            house.until(lambda: not house.waiting())
            assert len(house.records()) == MANY + 1
        finally:
            house.kill()


def greedy_files_of(house: House) -> Iterator[Path]:
    return (house.inbox / "greedy").iterdir()


@pytest.mark.slow
def test_a_place_without_room_for_the_finished_images_of_one_inbox_holds_up_no_other(tmp_path: Path) -> None:
    full = {"path": "full", "processed": "done", "failed": "done/failed"}
    (tmp_path / "full").mkdir()
    with (
        small_disk(tmp_path / "done", size="16m") as disk,
        running(tmp_path, watch=[full, {"path": "inbox"}]) as house,
    ):
        fill(disk)
        for number in range(MANY):
            (tmp_path / "full" / f"{number}.jpg").write_bytes(b"no picture")
        house.until(lambda: len(house.records()) == MANY)
        assert is_served(house, "meanwhile.jpg")
        (disk / "ballast").unlink()
        wait_until(lambda: not any((tmp_path / "full").iterdir()))
        assert len(house.records()) == MANY + 1


@pytest.mark.slow
def test_a_camera_whose_folder_in_processed_is_full_by_itself_holds_up_no_other_s(tmp_path: Path) -> None:
    """A disk of its own, or FAT's bound of a folder: what waited beside its images waited with them."""
    processed = small_disk(tmp_path / "processed", size="16m")
    with processed as disk, small_disk(disk / "full") as own, running(tmp_path) as house:
        ballast, _ = fill(disk), fill(own)
        for number in range(40):
            for camera in ("full", "other"):
                (house.inbox / camera).mkdir(exist_ok=True)
                shutil.copyfile(PHOTOS[0], house.inbox / camera / f"{number}.jpg")
        house.until(lambda: len(house.records()) == 80)
        ballast.unlink()
        house.until(lambda: not list((house.inbox / "other").iterdir()))
        assert len(list((house.inbox / "full").iterdir())) == 40


@pytest.mark.slow
def test_pictures_of_one_name_are_each_recorded_beside_others_that_wait_for_room(tmp_path: Path) -> None:
    """One whose file was written over was tried as rarely as those: the pictures in between had no record."""
    with small_disk(tmp_path / "processed", size="16m") as disk, running(tmp_path) as house:
        ballast = fill(disk)
        for number in range(3):
            shutil.copyfile(PHOTOS[0], house.inbox / f"{number}.jpg")
        house.until(lambda: len(house.records()) == 3)
        for number in range(8):
            shutil.copyfile(PHOTOS[number % 2], house.inbox / "part")
            (house.inbox / "part").rename(house.inbox / "latest.jpg")
            house.until(lambda number=number: len(house.records()) == 4 + number)  # type: ignore[misc]
        ballast.unlink()
        house.until(lambda: not list(house.inbox.iterdir()))
