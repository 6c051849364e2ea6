"""Folders nested deeper than anybody means, or with paths too long to be opened: said, and passed by."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, running
from dropsight.intake.folder import DEEPEST


def nest(top: Path, *, depth: int, name: str = "d") -> Path:
    """Make folders within folders, by descriptors: their path may be longer than the kernel takes."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with open(os.open("deep.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:  # noqa: PTH123
        file.write(PHOTOS[0].read_bytes())
    os.close(here)
    return top / name


def clear(top: Path) -> None:
    """Take such a nest away, which shutil cannot on every Python."""
    rest = top.with_name("rest")
    while top.exists():
        for below in [entry for entry in top.iterdir() if entry.is_dir()]:
            below.rename(rest)
        shutil.rmtree(top)
        if rest.exists():
            rest.rename(top)


def told(house: House) -> str:
    return str(house.status()["troubles"].get("depth", ""))


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "name"), [(1_500, "d"), (1_100, "d" * 200)], ids=["deep", "long"])
def test_what_lies_too_deep_is_said_once_and_passed_by_and_all_else_goes_on(
    tmp_path: Path, depth: int, name: str
) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "inbox").mkdir()
    nest(tmp_path / "inbox", depth=depth, name=name)
    try:
        with running(tmp_path) as house:
            wait_until(lambda: bool(told(house)))
            nest(tmp_path / "before", depth=depth, name=name).rename(house.inbox / "moved in")
            (house.inbox / "made").mkdir()
            nest(house.inbox / "made", depth=depth, name=name)
            house.ask("rescan")
            wait_until(lambda: "and 2 more" in told(house))
            shutil.copy(PHOTOS[0], house.inbox / name)
            wait_until((house.processed / name / PHOTOS[0].name).exists)
            for number, top in enumerate(("made", "moved in", name)):
                (house.inbox / top).rename(tmp_path / "before" / f"{number}")
            house.ask("rescan")
            wait_until(lambda: not told(house))
            assert [record["image_path"] for record in house.records()] == [f"{name}/{PHOTOS[0].name}"]
            assert house.stop() == 0
            assert "Traceback" not in house.daemon_log()
    finally:
        for left in (*(tmp_path / "before").iterdir(), *(tmp_path / "inbox").iterdir()):
            clear(left)


def test_an_image_as_deep_as_may_be_is_recorded_filed_and_heard_of_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        folder = house.inbox.joinpath(*["d"] * DEEPEST)
        folder.mkdir(parents=True)
        for number in range(2):
            shutil.copy(PHOTOS[number], folder)
            wait_until(lambda number=number: len(house.records()) == number + 1)  # type: ignore[misc]
        house.until(lambda: not house.waiting())
        assert not told(house)


def test_an_image_whose_path_is_as_long_as_the_kernel_takes_is_recorded_and_filed(tmp_path: Path) -> None:
    """In processed/, which has a longer name than the inbox, there is no room for such a path."""
    with running(tmp_path) as house:
        folder = house.inbox
        while len(os.fsencode(folder)) < 3_600:
            folder /= "d" * 200
        folder.mkdir(parents=True)
        name = "x" * (255 - len(".jpg")) + ".jpg"
        shutil.copy(PHOTOS[0], folder / name)
        house.until(lambda: not house.waiting())
        assert [record["status"] for record in house.records()] == ["ok"]
        assert len([path for path in house.processed.rglob("*") if path.is_file()]) == 1


def test_folders_that_come_and_go_without_an_end_hold_up_no_stop_and_fill_no_memory(tmp_path: Path) -> None:
    """Each asked for a walk of its own, and a stop waited for all of them."""
    over = threading.Event()

    def churn(number: int) -> None:
        here, there = tmp_path / "inbox" / f"{number}", tmp_path / "inbox" / f"{number}-moved"
        (here / "a" / "b").mkdir(parents=True)
        while not over.is_set():
            here.rename(there)
            there.rename(here)

    with running(tmp_path) as house, ThreadPoolExecutor(2) as churning:
        try:
            for number in range(2):
                churning.submit(churn, number)
            shutil.copyfile(PHOTOS[0], house.inbox / "1.jpg")
            wait_until(lambda: len(house.records()) == 1)
            assert house.stop() == 0
        finally:
            over.set()
