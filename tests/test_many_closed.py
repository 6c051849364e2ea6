"""Closed folders, and images that may not be read, in great numbers: what noting them costs."""

import itertools
import logging
from pathlib import Path

from dropsight.config import Watch
from dropsight.errors import DropsightError
from dropsight.intake.closed_folders import FIRST_PAUSE, MOST_FOLDERS, NAME, Refusals
from dropsight.intake.folder import DropFolder
from dropsight.status.troubles import Troubles


class CountingTroubles(Troubles):
    raises: int = 0

    def raised(self, part: str, error: DropsightError) -> None:
        self.raises += 1
        super().raised(part, error)


def test_of_any_number_of_images_that_may_not_be_read_each_is_noted_as_fast_as_the_first(
    tmp_path: Path,
) -> None:
    """60,000 of them in 4,000 folders kept another inbox's image waiting for two minutes."""
    folder, troubles = DropFolder.open(Watch(path=tmp_path)), CountingTroubles(logging.getLogger())
    refusals = Refusals(tmp_path, troubles, clock=lambda: 0.0)
    for number in range(3_000):
        refusals.closed(folder, str(tmp_path / "camera" / f"{number}.jpg"))
    assert troubles.raises == 1
    assert troubles.any()
    refusals.look_again()  # none of them is there
    assert not troubles.any()


def test_of_folders_that_are_closed_in_great_numbers_is_told_after_rests_and_of_all_in_the_end(
    tmp_path: Path,
) -> None:
    folder, troubles = DropFolder.open(Watch(path=tmp_path)), CountingTroubles(logging.getLogger())
    now = itertools.count()
    refusals = Refusals(tmp_path, troubles, clock=lambda: float(next(now)))
    paths = [tmp_path / f"{number:04}" / "1.jpg" for number in range(MOST_FOLDERS + 100)]
    for path in paths:
        path.parent.mkdir()
        path.touch()
        refusals.closed(folder, str(path))
    assert troubles.raises < 500
    for _ in range(50):
        refusals.look_again()
    note = (tmp_path / NAME).read_text().splitlines()
    assert note == [str(path.parent) for path in paths[:MOST_FOLDERS]]
    for path in paths:
        refusals.opened(str(path))
    assert not troubles.any()


def test_what_stays_closed_is_noted_again_for_whoever_opens_it_who_may_have_missed_the_first_note(
    tmp_path: Path,
) -> None:
    """Of a camera whose files are for it alone all further images waited, if two were closed at a time."""
    folder, now = DropFolder.open(Watch(path=tmp_path)), 0.0
    refusals = Refusals(tmp_path, Troubles(logging.getLogger()), clock=lambda: now)
    first, second = (str(tmp_path / "camera" / name) for name in ("1.jpg", "2.jpg"))
    refusals.closed(folder, first)
    refusals.closed(folder, second)  # comes just after the folder's files were opened
    (tmp_path / NAME).unlink()
    refusals.opened(first)
    refusals.closed(folder, second)  # it is tried again and again
    assert not (tmp_path / NAME).exists()
    now += FIRST_PAUSE
    refusals.closed(folder, second)
    assert (tmp_path / NAME).read_text() == f"{tmp_path}/camera\n"


def test_what_nobody_opens_is_noted_less_and_less_until_another_image_comes(tmp_path: Path) -> None:
    folder, now = DropFolder.open(Watch(path=tmp_path)), 0.0
    refusals = Refusals(tmp_path, Troubles(logging.getLogger()), clock=lambda: now)

    def notes_in_a_day(name: str) -> int:
        nonlocal now
        notes = 0
        for _ in range(int(86_400 / FIRST_PAUSE)):
            refusals.closed(folder, str(tmp_path / "camera" / name))
            notes += (tmp_path / NAME).exists()
            (tmp_path / NAME).unlink(missing_ok=True)
            now += FIRST_PAUSE
        return notes

    assert notes_in_a_day("1.jpg") < 50
    refusals.closed(folder, str(tmp_path / "camera" / "2.jpg"))
    assert (tmp_path / NAME).exists()
