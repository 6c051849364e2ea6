"""The watchdog: fed while images get on or none is there, triggered by whatever hangs."""

import os
import shutil
import signal
import subprocess
import sys
from itertools import chain, repeat
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House
from disks import fill, small_disk
from dropsight.config import Watch
from dropsight.crashpoints import HANG_VARIABLE
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.status.systemd import Watchdog
from hostile import large_progressive
from neighbours import BESIDE_NEIGHBOURS
from supervisors import Supervisor


@pytest.mark.slow
def test_the_watchdog_is_fed_while_idle_and_while_at_work(tmp_path: Path, supervisor: Supervisor) -> None:
    house = House(tmp_path, {})
    house.spawn(NOTIFY_SOCKET=supervisor.path, WATCHDOG_USEC="400000")
    try:
        wait_until(lambda: len(supervisor.lines("WATCHDOG")) >= 3)
        for number in range(50):
            shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number}.jpg")
        before = len(supervisor.lines("WATCHDOG"))
        wait_until(lambda: len(house.records()) == 50)
        wait_until(lambda: len(supervisor.lines("WATCHDOG")) > before + 1)
    finally:
        house.kill()


def test_what_is_overdue_for_as_long_again_is_given_to_the_watchdog_and_what_gets_on_is_not(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", supervisor.path)
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    answers = chain([["worker-0"], [], ["worker-0"], []], repeat(["worker-1", "scan"]))
    Watchdog(lambda _: next(answers))
    wait_until(lambda: "trigger" in supervisor.lines("WATCHDOG"))
    assert set(supervisor.lines("WATCHDOG")[:-1]) == {"1"}
    assert caplog.messages[-1].startswith("worker-1 still makes no progress")


STEP = f"""{BESIDE_NEIGHBOURS}
from dropsight.status.systemd import Watchdog
Watchdog(lambda _: ["a step"])
work(float(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("neighbours", "seconds", "triggered"),
    [pytest.param(2, "0.4", False, marks=pytest.mark.slow), (0, "600", True)],
)
def test_a_step_that_lacks_a_processor_is_not_taken_for_a_hang_and_one_without_an_end_is(
    supervisor: Supervisor, neighbours: int, seconds: str, *, triggered: bool
) -> None:
    """With a twentieth of a core, a large picture had the daemon ended, and again at the next start."""
    environ = {**os.environ, "NOTIFY_SOCKET": supervisor.path, "WATCHDOG_USEC": "2000000"}
    command = [sys.executable, "-c", STEP, str(neighbours), seconds]
    with subprocess.Popen(command, env=environ) as process:
        try:
            wait_until(lambda: process.poll() is not None or "trigger" in supervisor.lines("WATCHDOG"))
        finally:
            process.kill()
    assert ("trigger" in supervisor.lines("WATCHDOG")) is triggered


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "culprit"),
    [
        ("in_decoding:", "worker-"),
        ("in_invoke:1", "worker-"),
        ("before_commit:1", "recorder"),
        ("after_filing:1", "recorder"),
        ("in_walk:1", "scan"),
        ("in_hint:1", "the watch on"),
    ],
)
def test_a_thread_that_hangs_is_named_and_given_to_the_watchdog(
    tmp_path: Path, supervisor: Supervisor, point: str, culprit: str
) -> None:
    """Silence must not be taken for peace: the supervisor is told, and starts the service again."""
    house = House(tmp_path, {})
    shutil.copy(PHOTOS[0], house.inbox)
    house.spawn(NOTIFY_SOCKET=supervisor.path, WATCHDOG_USEC="1000000", **{HANG_VARIABLE: point})
    try:
        wait_until(lambda: bool(supervisor.lines("READY")))
        wait_until(lambda: dropped_and_triggered(house, supervisor))
    finally:
        house.kill()
    last = next(line for line in reversed(house.daemon_log().splitlines()) if "CRITICAL" in line)
    assert f"{culprit}" in last
    assert "still makes no progress" in last


def dropped_and_triggered(house: House, supervisor: Supervisor) -> bool:
    """Drop again each time: the first comes before the folder is watched, and then no event tells of it."""
    shutil.copyfile(PHOTOS[1], house.inbox / PHOTOS[1].name)  # it may be gone at once
    return "trigger" in supervisor.lines("WATCHDOG")


def test_what_nobody_takes_is_a_hang_unless_the_daemon_is_paused(tmp_path: Path) -> None:
    folder = DropFolder.open(Watch(path=tmp_path, processed=tmp_path / "done", failed=tmp_path / "bad"))
    backlog = Backlog()
    assert backlog.unserved_seconds() == 0
    backlog.hint(folder, str(tmp_path / "a.jpg"), closed=True)
    wait_until(lambda: backlog.unserved_seconds() > 0.05)
    backlog.pause(paused=True)
    assert backlog.unserved_seconds() == 0
    backlog.pause(paused=False)
    taken = backlog.take()
    assert taken
    assert backlog.unserved_seconds() == 0
    backlog.postpone(taken, seconds=0.05)
    wait_until(lambda: backlog.unserved_seconds() > 0)


@pytest.mark.slow
def test_a_full_disk_is_no_hang(tmp_path: Path, supervisor: Supervisor) -> None:
    """Starting again would make no room; the status line says what is the matter."""
    house = House(tmp_path, {})
    with small_disk(tmp_path / "state", size="16m") as disk:
        house.spawn(NOTIFY_SOCKET=supervisor.path, WATCHDOG_USEC="2000000")
        try:
            wait_until(lambda: bool(supervisor.lines("READY")))
            ballast = fill(disk)
            for number in range(300):
                shutil.copyfile(PHOTOS[0], house.inbox / f"{number}.jpg")
            wait_until(lambda: "journal" in supervisor.lines("STATUS")[-1])
            fed = len(supervisor.lines("WATCHDOG"))
            wait_until(lambda: len(supervisor.lines("WATCHDOG")) > fed + 8)
            ballast.unlink()
            house.until(lambda: len(house.records()) == 300)
            assert "trigger" not in supervisor.lines("WATCHDOG")
        finally:
            house.kill()


@pytest.mark.slow
@pytest.mark.parametrize(("hang", "status"), [("in_invoke:2", "ok"), ("in_invoke:1", "failed")])
def test_after_a_hang_the_image_is_tried_alone_and_the_rest_goes_on(
    tmp_path: Path, supervisor: Supervisor, hang: str, status: str
) -> None:
    """One that hangs its own trial, too, is refused: else the service would hang and restart for ever."""
    house = House(tmp_path, {"inference": {"workers": 1}})
    environ = {"NOTIFY_SOCKET": supervisor.path, "WATCHDOG_USEC": "8000000"}
    try:
        house.spawn(**environ, **{HANG_VARIABLE: hang})
        wait_until(lambda: bool(supervisor.lines("READY")))
        for photo in PHOTOS[: int(hang[-1])]:
            shutil.copy(photo, house.inbox)
        wait_until(lambda: "trigger" in supervisor.lines("WATCHDOG"))
        assert house.stop(signal.SIGABRT) == -signal.SIGABRT
        house.spawn(**environ, **{HANG_VARIABLE: hang})
        wait_until(lambda: len(house.records()) == int(hang[-1]))
        assert "most recent call first" in house.daemon_log()  # every thread's place
        assert house.records()[-1]["status"] == status
        assert house.stop() == 0
    finally:
        house.kill()


@pytest.mark.slow
def test_a_slow_image_is_named_in_a_trouble_and_others_go_on(tmp_path: Path) -> None:
    """Where there is another worker; of what made the service start again, nothing was shown."""
    house = House(tmp_path, {"inference": {"workers": 2}})
    try:
        house.spawn(**{HANG_VARIABLE: "in_decoding:slow"})
        wait_until(house.answers)
        (house.inbox / "slow.jpg").write_bytes(PHOTOS[0].read_bytes() + b"slow")
        for number in range(3):
            shutil.copyfile(PHOTOS[number], house.inbox / f"{number}.jpg")
        wait_until(lambda: len(house.records()) == 3)
        wait_until(lambda: "slow.jpg has been in progress" in house.status()["troubles"].get("slow", ""))
    finally:
        house.kill()


@pytest.mark.slow
def test_large_images_that_take_long_have_one_worker_and_the_others_go_on(tmp_path: Path) -> None:
    """They are decoded one at a time, for memory's sake; whoever met the second one waited, too."""
    house = House(tmp_path, {"inference": {"workers": 2}})
    try:
        house.spawn(**{HANG_VARIABLE: "in_decoding:slow"})
        wait_until(house.answers)
        large = large_progressive(4_000, scans=0)
        for number in range(4):
            (house.inbox / f"slow-{number}.jpg").write_bytes(large + b"slow")
        wait_until(lambda: house.counters()["queued"] == 3)
        for number in range(3):
            shutil.copyfile(PHOTOS[number], house.inbox / f"{number}.jpg")
        wait_until(lambda: len(house.records()) == 3)
        wait_until(lambda: house.counters()["in_hand"] == 1)
    finally:
        house.kill()


@pytest.mark.slow
def test_large_images_are_all_classified_beside_small_ones(tmp_path: Path) -> None:
    house = House(tmp_path, {"inference": {"workers": 2}})
    try:
        house.start()
        large = large_progressive(4_000, scans=0)
        for number in range(4):
            (house.inbox / f"large-{number}.jpg").write_bytes(large)
            shutil.copyfile(PHOTOS[number], house.inbox / f"{number}.jpg")
        wait_until(lambda: len(house.records()) == 8 and not house.waiting())
        assert {record["status"] for record in house.records()} == {"ok"}
        assert house.stop() == 0
    finally:
        house.kill()
