"""Folders that cameras make by the day or the minute do not stay for ever."""

import shutil
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, running

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def in_two_days(house: House) -> None:
    house.spawn(LD_PRELOAD=str(FAKETIME), FAKETIME="+2d", FAKETIME_DONT_FAKE_MONOTONIC="1", NO_FAKE_STAT="1")
    wait_until(house.answers)


def made(top: Path, *folders: str) -> list[Path]:
    paths = [top / folder for folder in folders]
    for path in paths:
        path.mkdir(parents=True)
    return paths


def test_date_folders_go_at_once_where_the_camera_has_moved_on_to_a_later_one(tmp_path: Path) -> None:
    """Those of a camera by the minute would take 1,440 watches a day; its clock may still go back."""
    with running(tmp_path, watch=[{"path": "inbox", "after": "delete"}]) as house:
        day, (ahead,) = house.inbox / "front" / "2026-11-27", made(house.inbox, "front/2026-11-27/14/00")
        for number, minute in enumerate(("12/58", "12/59", "13/00", "13/01", "12/30", "12/31")):
            assert not (day / "12" / "58").exists() or number < 2
            (day / minute).mkdir(parents=True, exist_ok=True)
            shutil.copy(PHOTOS[0], day / minute)
            wait_until(lambda number=number: house.finished() == number + 1)  # type: ignore[misc]
            wait_until(lambda: not house.waiting())
        for number, channel in enumerate(("1", "2", "1", "01", "02"), start=7):
            (folder := house.inbox / "recorder" / channel).mkdir(parents=True, exist_ok=True)
            shutil.copy(PHOTOS[0], folder)
            wait_until(lambda number=number: house.finished() == number)  # type: ignore[misc]
        wait_until(lambda: not house.waiting())
        left = {str(path.relative_to(day)) for path in day.rglob("*")}
        assert left == {"12", "12/30", "12/31", "13", "13/01", "14", "14/00"}
        assert ahead.is_dir()
        assert {path.name for path in (house.inbox / "recorder").iterdir()} == {"1", "2", "01", "02"}


@pytest.mark.slow
@pytest.mark.skipif(FAKETIME is None, reason="needs faketime")
@pytest.mark.parametrize("after", ["move", "delete", "keep"])
def test_what_is_empty_below_a_camera_s_folder_goes_after_a_day_unless_images_are_kept(
    tmp_path: Path, after: str
) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox", "after": after}]})
    tops = [house.inbox, house.processed, house.failed]
    trees = [path for top in tops for path in made(top, "front/2026/11/27", "front/2026/11/28", "back")]
    (note := house.inbox / "front" / "2026" / "12" / "note.txt").parent.mkdir()
    note.touch()
    (trash := house.inbox / "front" / "@eaDir" / "x").mkdir(parents=True)
    house.start()
    assert house.stop() == 0
    assert all(path.is_dir() for path in trees)
    (house.root / "state" / "clock.json").unlink()  # which tells a clock that jumps from time that goes by
    in_two_days(house)
    try:
        if after == "keep":
            assert house.stop() == 0
            assert all(path.is_dir() for path in trees)
            return
        wait_until(lambda: not (house.failed / "front" / "2026").exists())
        wait_until(lambda: not (house.processed / "front" / "2026").exists())
        wait_until(lambda: not (house.inbox / "front" / "2026" / "11").exists())
        assert note.exists()
        assert trash.exists()
        assert all((top / name).is_dir() for top in tops for name in ("front", "back"))
    finally:
        house.kill()
