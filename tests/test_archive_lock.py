"""One driver at a time on a target, whoever it was that left the last lock."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from archives import run
from brokers import wait_until
from daemons import PHOTOS
from dropsight import cli
from dropsight.archive import job_lock
from dropsight.archive.job_file import JobFile
from dropsight.archive.job_lock import NAME, Holder, driver_at, sole_driver
from dropsight.archive.running import ArchiveOrder, run_archive
from dropsight.archive.storage import Storage
from dropsight.commands.archive import archive
from dropsight.errors import InUseError


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lock, "_BEAT_SECONDS", 0.01)
    monkeypatch.setattr(job_lock, "_LOOK_SECONDS", 0.01)


def never() -> bool:
    return False


def elsewhere(storage: Storage, *, beats: int = 0) -> Holder:
    """Leave the lock of a driver on another machine."""
    holder = Holder("other-host", "another boot", 7, "1", "token", beats)
    with storage.whole(NAME) as file:
        file.write_bytes(msgspec.json.encode(holder))
    return holder


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


def test_a_second_driver_is_turned_away_and_told_who_is_at_work(storage: Storage) -> None:
    storage.make()
    with sole_driver(storage, stopped=never):
        with pytest.raises(InUseError, match=r"another driver is running there, process \d+ on ") as refused:
            run(PHOTOS[0], storage.place)
        assert refused.value.exit_code == 1
        driver = driver_at(storage)
        assert driver is not None
        assert driver.shown == Holder.ourselves().shown
    assert storage.names() == []
    assert run(PHOTOS[0], storage.place).state == "done"


def test_what_a_killed_driver_of_this_machine_has_left_holds_nobody_up(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does another process that has come by its number."""
    monkeypatch.setattr(job_lock, "_PATIENCE_SECONDS", float("inf"))
    storage.make()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for holder in (
        msgspec.structs.replace(Holder.ourselves(), pid=gone.pid),
        msgspec.structs.replace(Holder.ourselves(), started="0"),
    ):
        assert storage.create(NAME, msgspec.json.encode(holder))
        assert driver_at(storage) is None
        with sole_driver(storage, stopped=never):
            pass


@pytest.mark.usefixtures("quick")
def test_a_lock_of_another_machine_is_watched_and_taken_over_once_it_stands_still(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_lock, "_PATIENCE_SECONDS", 0.1)
    storage.make()
    elsewhere(storage)
    with sole_driver(storage, stopped=never):
        assert "a lock of process 7 on other-host: waiting" in caplog.text
        assert storage.names() == [NAME]


@pytest.mark.usefixtures("quick")
def test_a_driver_on_another_machine_that_still_beats_keeps_its_job(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_lock, "_PATIENCE_SECONDS", 60.0)
    storage.make()
    with sole_driver(storage, stopped=never):
        monkeypatch.setattr(job_lock, "_system", lambda: "another boot")
        with pytest.raises(InUseError, match="another driver is running there"):
            run(PHOTOS[0], storage.place)


@pytest.mark.usefixtures("quick")
def test_a_driver_that_lost_its_job_while_it_stood_still_ends_and_leaves_the_lock_alone(
    storage: Storage,
) -> None:
    storage.make()
    with sole_driver(storage, stopped=never) as driver:

        def is_seen() -> bool:
            elsewhere(storage)  # a beat that had looked before writes over it
            return driver.lost

        wait_until(is_seen, what="the loss is seen")
        with pytest.raises(InUseError, match="another driver has taken over this job"):
            driver.need()
    assert storage.names() == [NAME]


@pytest.mark.usefixtures("quick")
def test_waiting_for_a_sign_of_life_can_be_stopped(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lock, "_PATIENCE_SECONDS", 60.0)
    storage.make()
    elsewhere(storage)
    with pytest.raises(KeyboardInterrupt), sole_driver(storage, stopped=lambda: True):
        pass


@pytest.mark.parametrize(
    ("meanwhile", "says"),
    [
        ("begins", "another driver is running there"),
        ("has done another", "another call has begun anew there"),
    ],
)
def test_formats_are_of_the_job_that_was_just_done_or_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str, says: str
) -> None:
    """The lock was given back before, and a second call's rows went under the first one's labels."""
    out = Storage(str(tmp_path / "out"))
    order = cli.read(["archive", str(PHOTOS[0]), "-o", out.place, "--format", "csv"])

    def done(asked: ArchiveOrder, *, stopped: Callable[[], bool]) -> JobFile:
        job = run_archive(asked, stopped=stopped)
        if meanwhile == "begins":
            out.create(NAME, msgspec.json.encode(Holder.ourselves()))
        else:
            msgspec.structs.replace(job, manifest="another").write(out)
        return job

    monkeypatch.setattr("dropsight.commands.archive.run_archive", done)
    with pytest.raises(InUseError, match=says):
        archive(**order.given)  # type: ignore[arg-type] # as the command line gives them
    assert "results.csv" not in out.names()
