"""One image can fail, whatever it meets; the daemon goes on."""

import errno
import logging
import os
import resource
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from brokers import free_port, mosquitto, wait_until
from daemons import PHOTOS, House, running
from disks import fill, small_disk
from dropsight.classify.engine import open_engine
from dropsight.config import Config, Inference, Watch
from dropsight.crashpoints import RAISE_VARIABLE
from dropsight.errors import DamagedError, StoreError, machine_error
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.journal.mishaps import Mishaps
from dropsight.service.lifecycle import Lifecycle
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles

ONE_WORKER = {"inference": {"workers": 1}}


def drop(house: House, count: int, *, first: int = 0) -> None:
    for number, photo in enumerate(PHOTOS[first:count], first):
        shutil.copyfile(photo, house.inbox / f"{number}.jpg")


def drop_more(house: House) -> None:
    for number, photo in enumerate(PHOTOS[:2]):
        shutil.copyfile(photo, house.inbox / f"more-{number}.jpg")


@pytest.mark.slow
@pytest.mark.parametrize("point", ["in_decoding:poison", "in_invoke:2", "in_answer:2", "in_row:odd.jpg ok"])
def test_an_exception_that_nobody_expected_is_one_image_s_failure(tmp_path: Path, point: str) -> None:
    """It used to end the process, and with it every camera, again at every start."""
    house = House(tmp_path, ONE_WORKER)
    try:
        house.spawn(**{RAISE_VARIABLE: point})
        wait_until(house.answers)
        drop(house, 3)
        (house.inbox / "odd.jpg").write_bytes(PHOTOS[0].read_bytes() + b"poison")
        house.until(lambda: len(house.records()) == 4 and not house.waiting())
        (failed,) = [record for record in house.records() if record["status"] == "failed"]
        assert failed["error"]["code"] == "internal_error"
        assert "OverflowError" in failed["error"]["message"]
        assert (house.failed / failed["image_path"]).exists()
        assert "Traceback" in house.daemon_log()
        status = house.status()
        assert failed["image_path"] in status["troubles"]["internal"]
        assert status["stats"]["errors"] == {"internal_error": 1}
        assert house.stop() == 0
    finally:
        house.kill()


@pytest.mark.slow
@pytest.mark.parametrize("point", ["in_hint:2", "in_walk:2", "in_filing:2", "in_telling:2"])
def test_an_exception_around_an_image_costs_no_record(tmp_path: Path, point: str) -> None:
    house = House(tmp_path, ONE_WORKER)
    try:
        house.spawn(**{RAISE_VARIABLE: point})
        wait_until(house.answers)
        drop(house, 4)
        house.until(lambda: len(house.records()) == 4 and not house.waiting())
        assert Counter(record["status"] for record in house.records()) == {"ok": 4}
        assert house.stop() == 0
    finally:
        house.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "thread"),
    [
        ("in_housekeeping:1", "housekeeping"),
        ("in_watching:1", "cameras"),
        ("in_scanning:1", "scan"),
        ("in_events:1", "watch on"),
        ("in_serving:1", "web"),
        ("in_control:2", "control"),
        ("in_reporting:1", "the report"),
    ],
)
def test_a_bug_in_a_thread_that_serves_no_single_image_is_told_and_its_work_is_begun_again(
    tmp_path: Path, point: str, thread: str
) -> None:
    """It used to end the process."""
    settings = {"web": {"listen": f"127.0.0.1:{free_port()}"}, "stats": {"interval_seconds": 1}}
    house = House(tmp_path, {**settings, "cameras": {}, "watch": [{"path": "inbox", "silence": 1}]})
    try:
        house.spawn(**{RAISE_VARIABLE: point})
        wait_until(house.answers)
        drop(house, 2)

        def told() -> bool:
            # Something to hear of after the folder began to be watched, which may be after the drop.
            (stir := house.inbox / "stir.txt").touch()
            stir.unlink()
            return str(house.status()["troubles"].get("threads", "")).startswith(thread)

        wait_until(told)
        assert "Traceback" in house.daemon_log()
        drop_more(house)
        house.until(lambda: len(house.records()) == 4 and not house.waiting())
        wait_until(lambda: bool(house.status()["dashboard"]))
        assert house.stop() == 0
    finally:
        house.kill()


@pytest.mark.broker
def test_a_bug_in_the_publisher_costs_no_message(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        house = House(tmp_path, {"mqtt": {"url": broker.url}})
        try:
            house.spawn(**{RAISE_VARIABLE: "in_publishing:1"})
            wait_until(house.answers)
            drop(house, 3)
            wait_until(lambda: "mqtt: internal error" in house.status()["troubles"].get("threads", ""))
            wait_until(lambda: house.status()["mqtt"]["published"] == 3)
            assert house.stop() == 0
        finally:
            house.kill()


def test_a_bug_in_a_command_is_that_command_s(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    try:
        house.spawn(**{RAISE_VARIABLE: "in_command:1"})
        wait_until(house.answers)
        assert house.ask("rescan") == {
            "command": "rescan",
            "ok": False,
            "error": "internal error; see the daemon's log",
        }
        assert house.ask("rescan")["ok"]
        assert house.stop() == 0
    finally:
        house.kill()


@pytest.mark.slow
def test_a_bug_in_explaining_costs_one_explanation(tmp_path: Path) -> None:
    house = House(tmp_path, {"explain": {"below_confidence": 1}})
    try:
        house.spawn(**{RAISE_VARIABLE: "in_explaining:1"})
        wait_until(house.answers)
        drop(house, 1)
        wait_until(lambda: "explain: internal error" in house.status()["troubles"].get("threads", ""))
        drop_more(house)
        wait_until(lambda: bool(list(house.processed.glob("*.why.jpg"))))
        assert house.stop() == 0
    finally:
        house.kill()


def test_work_that_falls_again_and_again_stays_a_trouble_and_is_begun_again_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = Troubles(logging.getLogger(__name__))
    supervision = Supervision(troubles, first_pause_seconds=0.001)
    begun: list[int] = []

    def work() -> None:
        begun.append(1)
        if len(begun) < 6:
            raise OverflowError

    supervision.start("work", work).join()
    assert len(begun) == 6
    assert "for the 5th time in a row" in troubles.current()["threads"]
    assert caplog.text.count("internal error in work") == 5


def test_a_journal_that_cannot_be_trusted_ends_the_process_from_any_thread() -> None:
    troubles = Troubles(logging.getLogger(__name__))

    def work() -> None:
        raise DamagedError("malformed")

    with Lifecycle() as lifecycle:
        lifecycle.go_on_without(lambda *_: None)
        Supervision(troubles).start("work", work).join()
        assert isinstance(lifecycle.failure, DamagedError)


@pytest.mark.slow
def test_an_image_waits_for_descriptors_instead_of_failing(tmp_path: Path) -> None:
    """A flood of connections once made the next image fail for good."""
    with running(tmp_path, **ONE_WORKER) as house:
        drop(house, 1)
        house.until(lambda: len(house.records()) == 1 and not house.waiting())
        assert house.process
        pid = house.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        open_now = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
        lowest_free = min(set(range(len(open_now) + 1)) - open_now)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, hard))
        drop(house, 3)
        wait_until(lambda: "images wait: Too many open files" in house.daemon_log())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        house.until(lambda: len(house.records()) == 4 and not house.waiting())
        assert {record["status"] for record in house.records()} == {"ok"}
        wait_until(lambda: "machine" not in house.status()["troubles"])


def have_classified(house: House, count: int) -> None:
    """Of images that the journal has no room for. One in hand may yet have to be opened."""
    drop(house, 1)
    wait_until(lambda: "journal" in house.status()["troubles"])
    drop(house, count, first=1)
    wait_until(lambda: house.status()["stats"]["queues"]["records"] >= count - 1)


@pytest.mark.slow
def test_what_is_in_hand_is_recorded_without_a_descriptor_to_be_had_and_filed_once_there_are(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "state", size="16m") as disk, running(tmp_path, **ONE_WORKER) as house:
        ballast = fill(disk)
        have_classified(house, 3)
        assert house.process
        pid = house.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        ballast.unlink()
        wait_until(lambda: len(house.records()) == 3)
        assert {record["status"] for record in house.records()} == {"ok"}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        house.until(lambda: not house.waiting())
        assert house.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("spare", [0, 1])
def test_what_is_in_hand_is_filed_and_the_log_rolled_by_descriptors_that_were_kept_back(
    tmp_path: Path, spare: int
) -> None:
    """One that is free beside them is not enough, and no reason to keep them back."""
    settings = {**ONE_WORKER, "log": {"max_bytes": 400, "compress": False}}
    with small_disk(tmp_path / "state", size="16m") as disk, running(tmp_path, **settings) as house:
        ballast = fill(disk)
        have_classified(house, 3)
        assert house.process
        pid = house.process.pid
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        used = {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        # All numbers below the limit are taken, but for `spare`: nobody gets more who has none kept back.
        lowest_free = next(number for number in range(10_000) if number not in used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free + spare, hard))
        ballast.unlink()
        wait_until(lambda: len(list(house.processed.rglob("*.jpg"))) == 3)
        assert len(list((tmp_path / "logs").glob("results.jsonl.*"))) > 0
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert house.stop() == 0


def test_a_journal_that_cannot_be_read_is_no_image_s_failure(tmp_path: Path) -> None:
    """A damaged one ends the daemon, for the rescue; one that passes is waited for."""
    backlog, troubles = Backlog(), Troubles(logging.getLogger(__name__))
    plan = open_engine(Config(inference=Inference(workers=1))).plan
    folder = DropFolder.open(Watch(path=tmp_path, processed=tmp_path / "done", failed=tmp_path / "failed"))
    candidate = backlog.hold(folder, str(tmp_path / "1.jpg"))
    mishaps = Mishaps(backlog, troubles)
    assert mishaps.judge(StoreError("the disk is away"), candidate, plan, None) is None
    assert troubles.current() == {"machine": "the disk is away"}
    with pytest.raises(DamagedError):
        mishaps.judge(DamagedError("malformed"), candidate, plan, None)


def test_as_many_descriptors_are_asked_for_as_there_are_to_be_had(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with running(tmp_path) as house:
            assert house.process
            found, _ = resource.prlimit(house.process.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == min(hard, 65_536)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_an_image_that_cannot_be_read_for_a_while_is_waited_for(tmp_path: Path) -> None:
    """A USB disk or a soft mount that fails once made images failed for good."""
    with running(tmp_path, **ONE_WORKER) as house:
        drop(house, 1)
        wait_until(lambda: len(house.records()) == 1)
        image = tmp_path / "image.jpg"
        shutil.copy(PHOTOS[0], image)
        # Its first page is nobody's: reading there is an input/output error.
        mounted = house.inbox / "x.jpg"
        mounted.touch()
        if subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/mem", mounted], check=False).returncode:
            pytest.skip("nothing may be mounted here")
        try:
            wait_until(lambda: "images wait: Input/output error" in house.daemon_log())
            assert "Input/output error" in house.status()["troubles"]["machine"]
            drop(house, 2)
        finally:
            subprocess.run(["umount", mounted], check=True)
        image.rename(mounted)
        wait_until(lambda: len(house.records()) == 4)
        assert {record["status"] for record in house.records()} == {"ok"}
        wait_until(lambda: "machine" not in house.status()["troubles"])


@pytest.mark.parametrize(
    "name", ["EIO", "ETIMEDOUT", "ENOMEM", "ESTALE", "EMFILE", "ENFILE", "EAGAIN", "ENOSPC"]
)
def test_what_runs_out_or_passes_is_no_file_s_fault(name: str) -> None:
    assert machine_error(OSError(getattr(errno, name), "x")) is not None
