"""Inboxes on disks and shares that take long to answer, beside others."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from brokers import wait_until
from clips import make_clip, of_photos
from daemons import PHOTOS, House, bounded_by
from disks import FailingDisk, failing_disk
from dropsight.config import Watch
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.intake.mute_inboxes import DeepLook
from dropsight.intake.slow_inboxes import SlowInboxes
from shares import OneFileShare
from test_few_tasks import heic_of
from test_late_disks import mute_share
from test_many_waiting import scanner_of
from test_watch import drop, is_taken

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def two_inboxes(root: Path, **more: object) -> House:
    ours = {"path": "disk/inbox", "processed": "disk/processed", "failed": "disk/failed"}
    return House(root, {"watch": [ours, {"path": "inbox"}], **more})


def pause(house: House, *, on: bool) -> None:
    assert house.ask("pause" if on else "resume")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FailingDisk]:
    with failing_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.mark.slow
@AS_ROOT
def test_a_disk_that_takes_long_to_file_and_to_sync_holds_up_no_record(disk: FailingDisk) -> None:
    """Those of all inboxes waited, a group at a time, for each rename on a slow share."""
    house = two_inboxes(disk.place.parent)
    try:
        house.start()
        for inbox in (house.inbox, disk.place / "inbox"):
            is_taken(drop(inbox))
        pause(house, on=True)
        waiting = [drop(disk.place / "inbox", number) for number in (1, 2, 3)]
        disk.freeze(on=True)
        try:
            pause(house, on=False)
            wait_until(lambda: len(house.records()) == 5)
            for number in (1, 2, 3):
                is_taken(drop(house.inbox, number))
            assert all(image.exists() for image in waiting)
        finally:
            disk.freeze(on=False)
        for image in waiting:
            is_taken(image)
        assert len(house.records()) == 8
        names = {image.name for image in (disk.place / "processed").iterdir()}
        assert names >= {image.name for image in waiting}
    finally:
        house.kill()


@pytest.mark.slow
@AS_ROOT
@pytest.mark.parametrize("workers", [1, 2])
def test_a_share_that_stops_answering_holds_up_no_image_of_another_inbox(
    tmp_path: Path, workers: int
) -> None:
    """Each worker stood before it, until the watchdog ended the daemon."""
    house = two_inboxes(tmp_path, inference={"workers": workers})
    camera = tmp_path / "disk" / "inbox" / "cam"
    with ExitStack() as stack:
        stack.callback(house.kill)
        house.start()
        camera.mkdir()
        for number in range(3):
            is_taken(drop(camera, number))
        pause(house, on=True)
        for number in range(8):
            shutil.copy(PHOTOS[number % 4], camera / f"late-{number}.jpg")
        wait_until(lambda: house.counters()["waiting"] == 8)
        server = mute_share(camera)
        stack.callback(lambda: subprocess.run(["umount", "--lazy", camera], check=False))
        stack.callback(os.close, server)
        pause(house, on=False)
        for number in range(6):
            is_taken(drop(house.inbox, number))
        assert len(house.records()) == 9


def clip(path: Path) -> Path:
    return make_clip(path, [picture for picture in of_photos(PHOTOS[:3]) for _ in range(30)])


@pytest.mark.slow
@AS_ROOT
def test_a_share_that_stops_answering_holds_up_no_clip_of_another_inbox(tmp_path: Path) -> None:
    """The one thread for clips stood before it, until the watchdog ended the daemon."""
    house = two_inboxes(tmp_path)
    camera, made = tmp_path / "disk" / "inbox" / "cam", clip(tmp_path / "made.mp4")
    with ExitStack() as stack:
        stack.callback(house.kill)
        house.start()
        camera.mkdir()
        pause(house, on=True)
        for number in range(3):
            shutil.copy(made, camera / f"late-{number}.mp4")
        wait_until(lambda: house.counters()["waiting"] == 3)
        server = mute_share(camera)
        stack.callback(lambda: subprocess.run(["umount", "--lazy", camera], check=False))
        stack.callback(os.close, server)
        pause(house, on=False)
        for number in range(2):
            is_taken(Path(shutil.copy(made, house.inbox / f"{number}.mp4")))
        assert len(house.records()) == 2


@pytest.mark.slow
@AS_ROOT
def test_a_share_that_stops_answering_amid_a_clip_holds_up_no_other_clip_nor_fails_it(tmp_path: Path) -> None:
    """Others waited for half an hour, and then it was refused as one that takes too long to decode."""
    kept = {"path": "disk/inbox", "after": "keep", "failed": "failed"}
    house = House(tmp_path, {"watch": [kept, {"path": "inbox"}]})
    camera, made = tmp_path / "disk" / "inbox" / "cam", clip(tmp_path / "made.mp4").read_bytes()
    camera.mkdir(parents=True)
    with ExitStack() as stack:
        stack.callback(house.kill)
        share = stack.enter_context(OneFileShare(camera, "a.mp4", made, reads=len(made) // 4096 * 3 // 2))
        house.start()
        assert share.is_mute.wait(30.0)
        is_taken(Path(shutil.copy(tmp_path / "made.mp4", house.inbox / "1.mp4")))
        assert [record["image_path"] for record in house.records()] == ["1.mp4"]
        share.answer()
        wait_until(lambda: len(house.records()) == 2)
        assert {record["status"] for record in house.records()} == {"ok"}


@pytest.mark.slow
@AS_ROOT
def test_a_share_whose_server_hangs_amid_an_image_keeps_no_decoder_of_others_from_beginning(
    tmp_path: Path,
) -> None:
    """A new process closes what it inherits, and waited for the share there, as did who had begun it."""
    kept = {"path": "disk/inbox", "after": "keep", "failed": "failed"}
    house = House(tmp_path, {"watch": [kept, {"path": "inbox"}], "inference": {"workers": 2}})
    camera, photo = tmp_path / "disk" / "inbox" / "cam", PHOTOS[0].read_bytes()
    camera.mkdir(parents=True)
    with ExitStack() as stack:
        stack.callback(house.kill)
        share = stack.enter_context(OneFileShare(camera, "a.jpg", photo, reads=4, hears_of_closes=True))
        house.start()
        assert share.is_mute.wait(30.0)
        (house.inbox / "1.heic").write_bytes(heic_of(PHOTOS[1]))
        wait_until(lambda: [record["image_path"] for record in house.records()] == ["1.heic"])
        is_taken(Path(shutil.copy(clip(tmp_path / "made.mp4"), house.inbox / "2.mp4")))
        share.answer()
        wait_until(lambda: len(house.records()) == 3)
        assert {record["status"] for record in house.records()} == {"ok"}


@pytest.mark.slow
@AS_ROOT
def test_a_share_that_stops_answering_a_walk_is_left_out_until_it_answers(tmp_path: Path) -> None:
    """All that are polled waited for that walk; here it is a camera's folder that is a share."""
    polled = {"observer": "polling", "poll_seconds": 1}
    ours = {"path": "disk/inbox", "processed": "disk/processed", "failed": "disk/failed", **polled}
    house = House(tmp_path, {"watch": [ours, {"path": "inbox", **polled}]})
    house.under = bounded_by(
        "dropsight.service.daemon",
        ("dropsight.intake.mute_inboxes", {"PATIENCE_SECONDS": 2.0}),
        SLOW_SECONDS=2.0,
        LOOK_SECONDS=1.0,
    )
    camera = tmp_path / "disk" / "inbox" / "cam"
    with ExitStack() as stack:
        stack.callback(house.kill)
        house.start()
        camera.mkdir()
        is_taken(drop(house.inbox))
        server = mute_share(camera)
        stack.callback(lambda: subprocess.run(["umount", "--lazy", camera], check=False))
        stack.callback(os.close, server)
        wait_until(lambda: "left out until it does" in house.daemon_log())
        wait_until(house.answers)
        for number in (1, 2, 3):
            is_taken(drop(house.inbox, number))
        assert "disk/inbox did not answer" in house.status()["troubles"]["share"]


@pytest.mark.slow
@AS_ROOT
@pytest.mark.parametrize("name", ["a.jpg", "a.mp4"])
def test_a_single_run_ends_without_a_share_that_stops_answering_and_says_so(
    tmp_path: Path, name: str
) -> None:
    """It never did."""
    house = House(tmp_path, {"watch": [{"path": "disk/inbox", "after": "keep"}, {"path": "inbox"}]})
    bounds = {"ONCE_SECONDS": 2.0, "LOOK_SECONDS": 0.1}
    house.under = bounded_by(
        "dropsight.classify.workers", ("dropsight.service.daemon", bounds), RELIEF_SECONDS=1.0
    )
    (camera := tmp_path / "disk" / "inbox" / "cam").mkdir(parents=True)
    shutil.copy(PHOTOS[0], house.inbox / "0.jpg")
    data = (clip(tmp_path / "made.mp4") if name == "a.mp4" else PHOTOS[0]).read_bytes()
    with ExitStack() as stack:
        stack.callback(house.kill)
        stack.enter_context(OneFileShare(camera, name, data, reads=2))
        house.spawn("--once")
        assert house.ended() == 1
        assert [record["image_path"] for record in house.records()] == ["0.jpg"]
        told = f"disk/inbox/cam/{name}: no answer for 2 s; what is there stays for another run"
        assert told in house.daemon_log()


SLOW_TO_OPEN = """
import sys, time
from dropsight.classify import worker, workers
from dropsight.intake.folder import DropFolder
from dropsight.service import daemon
workers.RELIEF_SECONDS, daemon.LOOK_SECONDS = 0.01, 0.01
at_once, relieve = DropFolder.open_image, worker.Worker.relieve

def late(self, path):
    time.sleep(0.1)
    return at_once(self, path)

def told(self, *, seconds):
    found = relieve(self, seconds=seconds)
    print("relieved" if found else "", file=sys.stderr)
    return found

DropFolder.open_image, worker.Worker.relieve = late, told
sys.argv = sys.argv[3:]
import runpy
runpy.run_module("dropsight", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_what_a_worker_has_in_hand_when_it_is_relieved_is_recorded_once(tmp_path: Path) -> None:
    house = House(tmp_path, {"inference": {"workers": 2}})
    house.under = [sys.executable, "-c", SLOW_TO_OPEN]
    names = [f"{number}.jpg" for number in range(100)]
    for number, name in enumerate(names):
        shutil.copy(PHOTOS[number % 4], house.inbox / name)
    try:
        house.start()
        house.until(lambda: len(house.records()) >= len(names))
        assert house.stop() == 0
        assert sorted(record["image_path"] for record in house.records()) == sorted(names)
        assert {record["status"] for record in house.records()} == {"ok"}
        assert house.daemon_log().count("relieved") > 10
    finally:
        house.kill()


def shared_backlog(
    tmp_path: Path, *, workers: int, of_the_slow: int
) -> tuple[Backlog, DropFolder, DropFolder]:
    """A backlog with so many images of a slow inbox, that one and a quick one."""
    slow, quick = (DropFolder.open(Watch(path=tmp_path / name)) for name in ("slow", "quick"))
    inboxes = SlowInboxes()
    inboxes.took(slow, 2.0)
    backlog = Backlog(slow=inboxes)
    backlog.share_among(workers)
    for number in range(of_the_slow):
        backlog.hint(slow, f"{slow.root}/{number}.jpg", closed=True)
    return backlog, slow, quick


def test_of_several_workers_one_is_left_to_inboxes_that_are_not_slow(tmp_path: Path) -> None:
    backlog, slow, quick = shared_backlog(tmp_path, workers=3, of_the_slow=4)
    first, second = backlog.take(), backlog.take()
    assert first
    assert second
    assert {first.folder, second.folder} == {slow}
    backlog.hint(quick, f"{tmp_path}/quick/0.jpg", closed=True)
    third = backlog.take()
    assert third
    assert third.folder is quick
    taken = []
    thread = threading.Thread(target=lambda: taken.append(backlog.take()))
    thread.start()
    backlog.is_through(first)  # of which it is heard
    thread.join(10.0)
    assert [each and each.folder for each in taken] == [slow]


def test_a_lone_worker_gives_half_of_its_time_to_slow_inboxes_while_others_wait(tmp_path: Path) -> None:
    backlog, slow, quick = shared_backlog(tmp_path, workers=1, of_the_slow=2)
    first = backlog.take()
    assert first
    assert first.folder is slow
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 2.0)  # others have as long
    for number in range(3):
        backlog.hint(quick, f"{tmp_path}/quick/{number}.jpg", closed=True)
    backlog.is_through(first)
    taken = []
    for _ in range(3):
        candidate = backlog.take()
        assert candidate
        taken.append(candidate.folder)
        backlog.is_through(candidate)
    assert taken == [quick] * 3


def test_an_inbox_on_the_journal_s_own_disk_is_never_slow(tmp_path: Path) -> None:
    folder = DropFolder.open(Watch(path=tmp_path))
    inboxes = SlowInboxes(tmp_path)
    inboxes.took(folder, 60.0)
    assert not inboxes.holds(folder)


def test_all_inboxes_on_a_slow_disk_are_slow(tmp_path: Path) -> None:
    """Of thirty on one share, each had a worker wait anew: an inbox beside them for 83 s."""
    one, other = (DropFolder.open(Watch(path=tmp_path / name)) for name in ("one", "other"))
    for folder in (one, other):
        Path(folder.root).mkdir()
    inboxes = SlowInboxes(Path("/proc"))
    inboxes.open([one, other])
    inboxes.took(one, 2.0)
    assert inboxes.holds(other)


def test_a_look_through_links_that_lead_back_ends(tmp_path: Path) -> None:
    (tmp_path / "in" / "cam").mkdir(parents=True)
    (tmp_path / "in" / "cam" / "back").symlink_to(tmp_path / "in")
    look = DeepLook((tmp_path / "in",), None, links=True)
    wait_until(lambda: not look.hangs)


@pytest.mark.parametrize("known", [True, False])
def test_the_walk_of_a_quick_inbox_waits_for_no_slow_one(tmp_path: Path, *, known: bool) -> None:
    """With twenty slow shares, 3 of 65 images of an inbox that is polled were found within a minute."""
    quick, slow = (DropFolder.open(Watch(path=tmp_path / name)) for name in ("quick", "slow"))
    for folder, count in ((quick, 1), (slow, 50)):
        Path(folder.root).mkdir()
        for number in range(count):
            (Path(folder.root) / f"{number}.jpg").touch()
    backlog, never, met = Backlog(), threading.Event(), list[bool]()
    if known:
        backlog.slow.took(slow, 2.0)

    def skip(folder: DropFolder, _path: str, _stat: os.stat_result) -> bool:
        if folder is slow:
            met.append(backlog.depth() > 0)
            if not met[-1]:
                never.wait(1.0)  # so slow is the disk
        return False

    scanner = scanner_of([quick, slow], backlog, skip, tmp_path)
    scanner.walker.look_seconds = 60.0
    thread = threading.Thread(target=scanner.run)
    thread.start()
    try:
        wait_until(lambda: backlog.depth() == 51)
    finally:
        scanner.stop()
        thread.join()
    assert met.count(False) <= (0 if known else 10)
