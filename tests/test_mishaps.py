"""One image can fail, whatever it meets; the daemon goes on."""

import logging
import resource
import shutil
from collections import Counter
from pathlib import Path

import pytest

from brokers import wait_until
from daemons import PHOTOS, House, running
from dropsight.config import Config, Inference, Watch
from dropsight.crashpoints import RAISE_VARIABLE
from dropsight.daemon.engine import open_engine
from dropsight.errors import DamagedError, StoreError
from dropsight.service.backlog import Backlog
from dropsight.service.dropfolder import DropFolder
from dropsight.service.mishaps import Mishaps
from dropsight.service.troubles import Troubles

ONE_WORKER = {"inference": {"workers": 1, "decoders": 1}}


def drop(house: House, count: int) -> None:
    for number, photo in enumerate(PHOTOS[:count]):
        shutil.copy(photo, house.inbox / f"{number}.jpg")


@pytest.mark.parametrize("point", ["in_decoding:poison", "in_invoke:2", "in_answer:2", "in_row:odd.jpg ok"])
def test_an_exception_that_nobody_expected_is_one_image_s_failure(tmp_path: Path, point: str) -> None:
    """It used to end the process, and with it every camera, again at every start."""
    house = House(tmp_path, ONE_WORKER)
    try:
        house.spawn(**{RAISE_VARIABLE: point})
        wait_until(house.answers)
        drop(house, 3)
        (house.inbox / "odd.jpg").write_bytes(PHOTOS[0].read_bytes() + b"poison")
        wait_until(lambda: len(house.records()) == 4 and not house.waiting())
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


@pytest.mark.parametrize("point", ["in_hint:2", "in_walk:2", "in_filing:2", "in_telling:2"])
def test_an_exception_around_an_image_costs_no_record(tmp_path: Path, point: str) -> None:
    house = House(tmp_path, ONE_WORKER)
    try:
        house.spawn(**{RAISE_VARIABLE: point})
        wait_until(house.answers)
        drop(house, 4)
        wait_until(lambda: len(house.records()) == 4 and not house.waiting())
        assert Counter(record["status"] for record in house.records()) == {"ok": 4}
        assert house.stop() == 0
    finally:
        house.kill()


def test_an_image_waits_for_descriptors_instead_of_failing(tmp_path: Path) -> None:
    """A flood of connections once made the next image fail for good."""
    with running(tmp_path, **ONE_WORKER) as house:
        drop(house, 1)
        wait_until(lambda: len(house.records()) == 1 and not house.waiting())
        assert house.process
        pid = house.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        open_now = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
        lowest_free = min(set(range(len(open_now) + 1)) - open_now)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, hard))
        drop(house, 3)
        wait_until(lambda: "images wait: Too many open files" in house.daemon_log())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        wait_until(lambda: len(house.records()) == 4 and not house.waiting())
        assert {record["status"] for record in house.records()} == {"ok"}
        wait_until(lambda: "machine" not in house.status()["troubles"])


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
