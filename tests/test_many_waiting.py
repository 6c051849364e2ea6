"""A million files in the folders: begun with at once, counted, and looked through in flat memory."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import wait_until
from daemons import PHOTOS, dropsight, running
from dropsight.config import Watch
from dropsight.intake.backlog import Backlog
from dropsight.intake.clock import Clock
from dropsight.intake.closed_folders import Refusals
from dropsight.intake.finds import CHUNK, Finds
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import InHand
from dropsight.intake.lineup import FirstInLine, Order
from dropsight.intake.scanner import Scanner
from dropsight.intake.starts import Starts
from dropsight.intake.walk_guard import WalkGuard
from dropsight.status.census import Census, lying
from dropsight.status.troubles import Troubles

Skip: TypeAlias = Callable[[DropFolder, str, os.stat_result], bool]


def scanner_of(
    folders: Sequence[DropFolder],
    backlog: Backlog,
    skip: Skip,
    state: Path,
) -> Scanner:
    troubles = Troubles(logging.getLogger(__name__))
    return Scanner(
        folders,
        backlog,
        skip=skip,
        refusals=Refusals(state, troubles),
        troubles=troubles,
        clock=Clock(),
        finding=WalkGuard(InHand(state / "in-hand"), troubles, Starts(state, troubles)),
    )


class Inbox:
    """A folder of empty files, a backlog, and a scanner that tells of each file that it comes to."""

    def __init__(self, root: Path, count: int, *, at_file: Callable[[int], None], capacity: int = 8) -> None:
        for number in range(count):
            (root / f"{number:03}.jpg").touch()
        self.folder = DropFolder.open(Watch(path=root), clips=["*.mkv"])
        self.backlog = Backlog(capacity=capacity)
        self._at_file, self._come_to = at_file, 0
        self.scanner = scanner_of([self.folder], self.backlog, self._skip, root)
        self.scanner.walker.look_seconds = 0.0

    def _skip(self, _folder: DropFolder, _path: str, _stat: os.stat_result) -> bool:
        self._come_to += 1
        self._at_file(self._come_to)
        return False

    def work_off(self) -> None:
        """As workers would, until stopped; a walk may have come to what is gone by now."""
        while candidate := self.backlog.take():
            Path(candidate.path).unlink(missing_ok=True)
            self.backlog.finish(candidate, "ok")


def test_a_long_walk_hands_out_what_it_has_found_before_it_is_over(tmp_path: Path) -> None:
    taken: list[str] = []

    def at_file(number: int) -> None:
        if number == 3:
            candidate = inbox.backlog.take() if inbox.backlog.depth() else None
            taken.extend([candidate.path] if candidate else [])

    inbox = Inbox(tmp_path, 5, at_file=at_file)
    inbox.scanner.walk(inbox.folder)
    assert len(taken) == 1
    assert inbox.backlog.counters().seen == 5


def test_a_walk_of_a_single_run_that_is_over_is_not_taken_for_one_that_stands_still(tmp_path: Path) -> None:
    """It was the trouble `slow` while slow images were classified, and such a run ended with 1."""
    inbox = Inbox(tmp_path, 5, at_file=lambda _: None)
    inbox.scanner.walk_all()
    assert not inbox.scanner.heartbeats.overdue(-1.0)


def test_a_backlog_is_looked_through_again_once_what_a_walk_has_found_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk of it had another walk: of a million files, 122 walks of some 15 s each."""
    monkeypatch.setattr("dropsight.intake.finds.CHUNK", 10)
    monkeypatch.setattr("dropsight.intake.finds.MOST_LATER", 90)
    looked: list[int] = []
    inbox = Inbox(tmp_path, 250, at_file=looked.append)
    inbox.scanner.walker.look_seconds = 60.0
    walks = threading.Thread(target=inbox.scanner.run)
    worker = threading.Thread(target=inbox.work_off)
    walks.start()
    wait_until(lambda: inbox.backlog.depth() == 8)
    worker.start()
    try:
        wait_until(lambda: not list(tmp_path.glob("*.jpg")))
    finally:
        inbox.scanner.stop()
        inbox.backlog.stop()
        walks.join()
        worker.join()
    assert len(looked) < 3 * 250  # some 500; 250 + 240 + 230 and so on before


def test_what_comes_later_of_all_inboxes_together_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropsight.intake.finds.CHUNK", 2)
    monkeypatch.setattr("dropsight.intake.finds.MOST_LATER", 4)
    backlog = Backlog()
    finds = Finds(backlog)

    def walked(folder: DropFolder) -> None:
        choice = finds.choice(folder, behind=(), whole=True)
        for number in range(10):
            choice.images.add(number, f"{folder.root}/{number}.jpg")
        finds.take(choice)

    one, other = (DropFolder.open(Watch(path=tmp_path / name)) for name in ("one", "other"))
    walked(one)
    assert (finds.has_later(one), backlog.overflow.called()) == (True, set())
    walked(other)
    assert (finds.has_later(other), backlog.overflow.called()) == (False, {other})
    while finds.hand_over() or finds.bring(one):
        pass
    assert backlog.depth() == 6 + 2
    walked(other)
    assert finds.has_later(other)


def test_any_number_of_clips_hides_no_image_from_a_walk_and_is_not_walked_for_again_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropsight.intake.finds.CHUNK", 20)
    monkeypatch.setattr("dropsight.intake.finds.MOST_CLIPS", 4)
    monkeypatch.setattr("dropsight.intake.clip_lane.MOST_CLIPS", 4)
    for number in range(30):
        (tmp_path / f"{number:03}.mkv").touch()
    inbox = Inbox(tmp_path, 5, at_file=lambda _: None)
    inbox.scanner.walk(inbox.folder)
    assert inbox.backlog.depth() == 5
    assert inbox.backlog.counters().queued == 9
    assert not inbox.backlog.overflow.called()  # whether another walk follows at once
    for left in (3, 2, 1):
        assert not inbox.backlog.overflow.due.is_set()
        assert inbox.backlog.take_clip() is not None
        assert inbox.backlog.counters().queued == 5 + left
    assert inbox.backlog.overflow.due.is_set()
    assert inbox.backlog.overflow.take() == {inbox.folder: True}


def test_what_lies_there_is_at_least_so_much_while_it_is_counted_and_less_with_each_that_is_finished(
    tmp_path: Path,
) -> None:
    said: list[tuple[int, bool]] = []

    def at_file(_: int) -> None:
        found = inbox.scanner.lying()
        said.append((found.images, found.counting))

    inbox = Inbox(tmp_path, 20, at_file=at_file, capacity=4)
    worker = threading.Thread(target=inbox.work_off)
    assert inbox.scanner.lying().counting
    walk = threading.Thread(target=inbox.scanner.walk, args=(inbox.folder,))
    walk.start()
    wait_until(lambda: len(said) == 20 or inbox.backlog.room() == 0)
    assert all(counting for _, counting in said)
    worker.start()
    walk.join()
    wait_until(lambda: inbox.backlog.counters().waiting == 0)
    assert (inbox.scanner.lying().images, inbox.scanner.lying().counting) == (0, False)
    inbox.backlog.stop()
    worker.join()


def test_a_count_goes_by_the_last_walk_until_the_next_has_found_more() -> None:
    finished = 0
    census = Census(lambda: finished)
    said: list[int] = []
    for there in (5, 9):
        census.begin()
        for _ in range(there):
            census.count(1)
            said.append(census.images())
        census.end()
        finished += 2
        said.append(census.images())
    assert said == [1, 2, 3, 4, 5, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 7]
    assert lying([census], waiting=8).images == 8  # events told of one more


def test_how_long_it_takes_is_told_by_the_speed_of_late_and_not_where_there_is_none() -> None:
    census = Census(lambda: 0)
    census.begin()
    census.count(1)
    census.end()
    there = lying([census], waiting=0)
    assert there.at(0.25).seconds_left == 4.0
    assert there.at(0.0).seconds_left is None
    assert lying([], waiting=0).at(1.0).seconds_left is None


@given(st.lists(st.floats(0, 1e6)), st.sampled_from(["oldest", "newest"]), st.integers(1, 10))
def test_a_choice_is_the_first_of_all_and_says_whether_any_was_left_out(
    ages: list[float], order: Order, limit: int
) -> None:
    choice: FirstInLine[str] = FirstInLine(order, limit=limit, camera_of=lambda _: "cam")
    for age in ages:
        choice.add(age, "image")
    assert [since for since, _ in choice.take(limit)] == sorted(ages, reverse=order == "newest")[:limit]
    assert choice.left_out is (len(ages) > limit)


def test_cameras_that_are_behind_come_after_all_others_and_take_turns() -> None:
    behind = {"greedy", "unlucky"}
    choice: FirstInLine[str] = FirstInLine("oldest", limit=4, camera_of=lambda item: item[:-1], behind=behind)
    for age, item in enumerate(("greedy1", "greedy2", "greedy3", "unlucky1", "cam1", "cam2")):
        choice.add(float(age), item)
    assert not choice.left_out
    assert choice.left_behind
    assert [item for _, item in choice.take(4)] == ["cam1", "cam2", "greedy1", "unlucky1"]
    assert choice.left_behind
    assert [item for _, item in choice.take(4)] == ["greedy2", "greedy3"]
    assert not choice.left_behind


def test_more_files_that_are_never_ready_than_a_walk_chooses_hide_no_other_camera_s(tmp_path: Path) -> None:
    """They came first, and without events nothing else than a walk finds what came after them."""
    for camera in ("greedy", "other"):
        (tmp_path / camera).mkdir()
    for number in range(CHUNK + 16):
        (tmp_path / "greedy" / f"{number}.jpg").touch()
    time.sleep(0.05)  # of a kernel's clock
    (tmp_path / "other" / "late.jpg").touch()
    inbox = Inbox(tmp_path, 0, at_file=lambda _: None, capacity=Backlog().capacity)
    inbox.scanner.walker.look_seconds = 60.0
    backlog, found = inbox.backlog, threading.Event()

    def work() -> None:
        while candidate := backlog.take():
            if candidate.camera == "other":
                found.set()
            backlog.postpone(candidate, seconds=1_000)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(2):
            inbox.scanner.walk(inbox.folder)
        assert found.wait(10)
    finally:
        backlog.stop()
        worker.join()


@pytest.mark.parametrize("observer", ["auto", "polling"])
def test_what_waits_for_room_in_one_inbox_keeps_no_walk_of_another_waiting(
    tmp_path: Path, observer: str
) -> None:
    """Folders that came into another were looked into once the queue had had room for all of it: 46 s."""
    flooded, other = tmp_path / "inbox", tmp_path / "other"
    for folder in (flooded, other):
        folder.mkdir()
    (tmp_path / "a.jpg").write_bytes(PHOTOS[0].read_bytes())
    for number in range(5_000):
        (flooded / f"{number}.jpg").hardlink_to(tmp_path / "a.jpg")
    watch = [
        {"path": "inbox"},
        {"path": "other", "processed": "processed-2", "failed": "failed-2"}
        | {"observer": observer, "poll_seconds": 0.5},
    ]
    with running(tmp_path, watch=watch, queue={"order": "fair"}, inference={"workers": 1}) as house:
        (other / "cam" / "new").mkdir(parents=True)
        shutil.copy(PHOTOS[0], other / "cam" / "new")
        wait_until(lambda: not any(path.is_file() for path in other.rglob("*")))
        assert house.counters()["done"] < 2_500


def inboxes_on_a_slow_disk(root: Path) -> tuple[DropFolder, DropFolder]:
    """One with twenty images in a folder, and one with a single image."""
    slow, other = (DropFolder.open(Watch(path=root / name)) for name in ("slow", "other"))
    for folder, count in ((slow, 20), (other, 1)):
        (Path(folder.root) / "come").mkdir(parents=True)
        for number in range(count):
            (Path(folder.root) / "come" / f"{number}.jpg").touch()
    return slow, other


def walks_on_a_slow_disk(other: DropFolder) -> tuple[list[str], Skip]:
    """Return the paths that walks meet, and what waits at each until `other` is met."""
    found, met = threading.Event(), list[str]()

    def skip(folder: DropFolder, path: str, _: os.stat_result) -> bool:
        met.append(path)
        if folder is other:
            found.set()
        else:
            found.wait(0.5)  # so slow is the disk
        return False

    return met, skip


def test_a_long_walk_of_one_inbox_keeps_no_walk_of_another_waiting(tmp_path: Path) -> None:
    """Of a million files it takes seconds, of a slow disk minutes: folders that came into others waited."""
    slow, other = inboxes_on_a_slow_disk(tmp_path)
    met, skip = walks_on_a_slow_disk(other)
    backlog = Backlog()
    scanner = scanner_of([slow, other], backlog, skip, tmp_path)
    scan = threading.Thread(target=scanner.run)
    scan.start()
    try:
        wait_until(lambda: backlog.depth() == 21)
        assert met.index(f"{other.root}/come/0.jpg") < 20
    finally:
        scanner.stop()
        scan.join(60)


def test_folders_that_come_in_the_midst_of_a_walk_into_another_are_looked_into_once_and_end_no_scan(
    tmp_path: Path,
) -> None:
    """Whoever brings a large folder again and again would have all walks pause for up to a minute."""
    slow, other = inboxes_on_a_slow_disk(tmp_path)
    met, skip = walks_on_a_slow_disk(other)
    backlog = Backlog()
    scanner = scanner_of([slow, other], backlog, skip, tmp_path)
    for folder in (slow, other):
        scanner.look_into(folder, f"{folder.root}/come")
    faults = list[BaseException]()

    def run() -> None:
        try:
            scanner.run()
        except IndexError as error:
            faults.append(error)

    scan = threading.Thread(target=run)
    scan.start()
    try:
        wait_until(lambda: backlog.depth() == 21 or bool(faults))
        assert met.index(f"{other.root}/come/0.jpg") < 20
    finally:
        scanner.stop()
        scan.join(60)
    assert not faults


def test_a_stop_ends_a_walk_wherever_it_is(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, 50, at_file=lambda number: inbox.scanner.stop() if number == 2 else None)
    inbox.scanner.walk(inbox.folder)
    assert inbox.backlog.counters().seen <= 2


def test_status_says_how_much_lies_in_the_folders_beside_what_waits(tmp_path: Path) -> None:
    # No event, and hence no walk, comes in between: one would wait for room with what it has counted.
    looked_at = {"path": "inbox", "observer": "polling", "poll_seconds": 3600}
    with running(tmp_path, watch=[looked_at]) as house:
        house.ask("pause")
        for number in range(600):  # more than the backlog holds
            (house.inbox / f"{number}.jpg").hardlink_to(_photo(tmp_path))
        house.ask("rescan")
        wait_until(lambda: house.status()["stats"]["folders"]["images"] == 600)
        wait_until(lambda: house.counters()["waiting"] == 512)
        assert not house.status()["stats"]["folders"]["counting"]
        said = dropsight("status", "-c", str(house.config)).stdout
        assert "folders    600 images in them" in said


def _photo(root: Path) -> Path:
    photo = root / "photo.jpg"
    if not photo.exists():
        shutil.copy(PHOTOS[0], photo)
    return photo
