"""Which cameras count as blind or silent, and which do not."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from daemons import PHOTOS
from dropsight.cameras.rhythm import Day, Rhythm
from dropsight.cameras.watch import IN_A_ROW, LEARNED_PICTURES, MOST_CAMERAS, CameraWatch, Memory
from dropsight.config import Cameras, Watch
from dropsight.images.looks import Look, look_at
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.service import camera_keeper as watching
from dropsight.status.changes import Changes
from test_looks import photo, taken

FOLDER = "/inbox"


class Watched:
    """A camera watch with a clock to turn."""

    def __init__(self, memories: dict[str, Memory] | None = None, **settings: Any) -> None:
        self.now = 1_000.0
        self.watch = CameraWatch(
            Cameras(**settings), memories or {}, changed=lambda: None, monotonic=lambda: self.now
        )

    def image(self, camera: str = "front", *, ago: float = 0.0) -> None:
        self.watch.recorded(camera, folder=FOLDER, arrived=self.now - ago)

    def look(self, *looks: Look, camera: str = "front") -> list[str]:
        for look in looks:
            self.watch.saw(camera, look)
        return sorted(self.watch.problems().get(camera, {}))

    def silent(self, *, limit: float | None = None, at_rest: bool = True) -> bool:
        self.watch.judge_silence({FOLDER: limit}, at_rest=at_rest)
        return "silent" in self.watch.problems().get("front", {})


BLACK = look_at(np.full((300, 400, 3), 4, np.uint8))


@cache
def sharp() -> list[Look]:
    return [look_at(taken(photo(PHOTOS[9]), noise=1, seed=seed)) for seed in range(LEARNED_PICTURES)]


@cache
def blurred() -> list[Look]:
    scene = cv2.GaussianBlur(photo(PHOTOS[9]), (0, 0), 3.0).astype(float)
    return [look_at(taken(scene, noise=0.5, seed=seed)) for seed in range(IN_A_ROW)]


def test_all_samples_again_and_again_in_any_order_are_no_problem() -> None:
    watched = Watched()
    looks = [look_at(taken(photo(path))) for path in PHOTOS]
    assert watched.look(*(looks + looks[::-1][1:]) * 5) == []


def test_black_pictures_in_a_row_are_a_problem_and_a_good_one_ends_it() -> None:
    watched = Watched()
    assert watched.look(*[BLACK] * (IN_A_ROW - 1), sharp()[0], *[BLACK] * (IN_A_ROW - 1)) == []
    assert watched.look(BLACK) == ["black"]
    assert watched.look(sharp()[0]) == []


def test_at_dusk_a_camera_is_called_black_once() -> None:
    """Between black and not black lies a stretch where neither begins nor ends."""
    dusk = [look_at(taken(photo(PHOTOS[12]) * light, noise=1, seed=9)) for light in (0.06, 0.03)]
    assert [look.is_black for look in dusk] == [False, True]
    watched = Watched()
    assert watched.look(dusk[0]) == []
    assert watched.look(*[BLACK] * IN_A_ROW) == ["black"]
    for _ in range(5):
        assert watched.look(*dusk) == ["black"]
    assert watched.look(sharp()[0]) == []


def test_the_same_picture_so_many_times_as_the_config_says_is_frozen() -> None:
    watched = Watched(frozen=4)
    assert watched.look(*[sharp()[0]] * 3) == []
    assert watched.look(sharp()[0]) == ["frozen"]
    assert watched.look(sharp()[1]) == []


def test_a_still_scene_with_a_live_sensor_is_no_problem() -> None:
    assert Watched().look(*sharp()) == []


def test_a_camera_out_of_focus_is_measured_by_itself_once_it_is_known() -> None:
    assert blurred()[0].sharpness > 0.015
    assert Watched().look(*blurred()) == []
    watched = Watched()
    assert watched.look(*sharp(), *blurred()) == ["blurred"]
    assert watched.look(sharp()[0]) == []


def test_what_the_config_turns_off_is_no_problem() -> None:
    watched = Watched(black=False, frozen=None, blur=False, learned_silence=False)
    assert watched.look(*[BLACK] * 5, *[sharp()[0]] * 5, *sharp(), *blurred()) == []


def test_silence_beyond_the_folders_limit_is_a_problem_until_the_next_image() -> None:
    watched = Watched()
    watched.image()
    watched.now += 59
    assert not watched.silent(limit=60)
    watched.now += 2
    assert watched.silent(limit=60)
    watched.image()
    assert not watched.silent(limit=60)


def test_a_camera_whose_images_wait_is_not_silent() -> None:
    """While the daemon is paused, or behind, nobody knows what the cameras have sent meanwhile."""
    watched = Watched()
    watched.image()
    watched.now += 1_000
    assert not watched.silent(limit=60, at_rest=False)
    watched.image("back", ago=500)
    assert watched.silent(limit=60, at_rest=False)  # known by what came later


def steady() -> Rhythm:
    return Rhythm([Day(number, longest=60.0, total=86_400.0, gaps=1_440) for number in range(4)])


def test_the_time_that_the_daemon_was_down_is_nobodys_silence() -> None:
    watched = Watched({"front": Memory(folder=FOLDER, silent_seconds=800.0, rhythm=steady())})
    assert not watched.silent()
    watched.now += 101
    assert watched.silent()


def test_a_camera_silent_since_before_the_restart_is_still_silent() -> None:
    former = Watched({"front": Memory(folder=FOLDER, rhythm=steady())})
    former.now += 2_000
    assert former.silent()
    again = Watched(former.watch.memories())
    assert list(again.watch.problems()["front"]) == ["silent"]
    assert again.watch.everything()["front"]["silent"] == former.watch.everything()["front"]["silent"]


def test_a_camera_that_sends_rubbish_is_not_silent_and_a_gap_is_learned_from_when_images_came() -> None:
    watched = Watched()
    for _ in range(3):
        watched.image(ago=30)
        watched.now += 100
    (day,) = watched.watch.memories()["front"].rhythm.days
    assert (day.longest, day.gaps) == (100, 2)


def test_too_many_cameras_throw_out_none_and_newcomers_are_not_remembered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    for number in range(MOST_CAMERAS + 3):
        watched.image(f"camera {number}")
    assert len(watched.watch.names) == len(watched.watch.memories()) == MOST_CAMERAS
    assert watched.watch.gone() == set()
    assert caplog.text.count("no state is kept") == 1


def watching_over(folder: DropFolder, backlog: Backlog) -> watching.CameraKeeper:
    journal, changes = Path(folder.root) / "journal.db", Changes()
    watch = watching.open_watch(Cameras(), [folder], journal, changed=changes)
    return watching.CameraKeeper(watch, changes, [folder], journal, backlog)


def test_in_a_catch_up_a_cameras_pictures_are_looked_at_in_pairs_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "CLOSEST_SECONDS", 3600.0)
    folder, backlog = DropFolder.open(Watch(path=tmp_path)), Backlog()
    watch = watching_over(folder, backlog)
    assert [watch.wants_look("porch") for _ in range(4)] == [True] * 4
    for number in range(watching.MANY_WAITING):
        backlog.hint(folder, str(tmp_path / f"{number}.jpg"), closed=True)
    assert [watch.wants_look("garden") for _ in range(4)] == [True, True, False, False]
    monkeypatch.setattr(watching, "CLOSEST_SECONDS", 0.0)
    assert watch.wants_look("garden")


def test_the_second_picture_of_a_pair_is_looked_at_on_the_thread_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is in the middle of a group of its own: its picture is no neighbour."""
    monkeypatch.setattr(watching, "CLOSEST_SECONDS", 3600.0)
    folder, backlog = DropFolder.open(Watch(path=tmp_path)), Backlog()
    watch = watching_over(folder, backlog)
    for number in range(watching.MANY_WAITING):
        backlog.hint(folder, str(tmp_path / f"{number}.jpg"), closed=True)
    assert watch.wants_look("porch")
    with ThreadPoolExecutor(1) as other:
        assert not other.submit(watch.wants_look, "porch").result()
    assert watch.wants_look("porch")


def test_images_that_come_out_of_order_teach_no_longer_gaps_than_there_were() -> None:
    now = 1_000.0
    watch = CameraWatch(Cameras(), {}, changed=lambda: None, monotonic=lambda: now)
    groups = [number for pair in zip(range(8), range(8, 16), strict=True) for number in pair]
    for number in groups:
        watch.recorded("porch", folder="in", arrived=number * 300.0, at_rest=False)
    watch.recorded("porch", folder="in", arrived=16 * 300.0)
    (today,) = watch.memories()["porch"].rhythm.days
    assert (today.gaps, today.longest) == (16, 300.0)
