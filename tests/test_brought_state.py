"""A state folder that somebody has brought: from a backup, or from another machine."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from brokers import free_port
from daemons import PHOTOS, House

OURS_ALONE = ("journal.db", "in-hand", "dropsight.sock")


def endless(note: Path) -> None:
    note.symlink_to("/dev/zero")


def of_a_terabyte(note: Path) -> None:
    with note.open("wb") as file:
        file.truncate(2**40)


def leading_elsewhere(note: Path) -> None:
    note.symlink_to(note.parent.parent / "elsewhere")


@pytest.mark.slow
@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir, endless, of_a_terabyte, leading_elsewhere])
def test_whatever_lies_in_the_place_of_a_note_the_daemon_starts_and_works(
    tmp_path: Path, put: Callable[[Path], object]
) -> None:
    """A pipe held it up without a word, /dev/zero filled the memory, a terabyte ended it at each start."""
    (elsewhere := tmp_path / "elsewhere").write_text("somebody's")
    broker = {"url": f"mqtt://127.0.0.1:{free_port()}"}
    house = House(tmp_path, {"mqtt": broker, "watch": [{"path": "inbox", "mqtt": "cam/+/image"}]})
    try:
        house.start()
        shutil.copyfile(PHOTOS[0], house.inbox / "first.jpg")
        house.until(lambda: len(house.records()) == 1 and not house.waiting())
        assert house.stop() == 0
        notes = {path.name for path in (tmp_path / "state").iterdir() if not path.name.startswith(OURS_ALONE)}
        for name in notes | {"starts", "cameras.json", "clock.json", "discovery.json", "crash"}:
            (tmp_path / "state" / name).unlink(missing_ok=True)
            put(tmp_path / "state" / name)
        house.start()
        shutil.copyfile(PHOTOS[1], house.inbox / "second.jpg")
        house.until(lambda: len(house.records()) == 2 and not house.waiting())
        assert house.stop() == 0
        assert "Traceback" not in house.daemon_log()
        assert elsewhere.read_text() == "somebody's"
    finally:
        house.kill()
