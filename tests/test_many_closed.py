"""Closed folders, and images that may not be read, in great numbers: what noting them costs."""

import itertools
import logging
from pathlib import Path

from dropsight.config import Watch
from dropsight.errors import DropsightError
from dropsight.intake.closed_folders import MOST_FOLDERS, NAME, Refusals
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
