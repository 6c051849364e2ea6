"""A machine without room for one more thread: what needs one waits for it, or does without."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from brokers import wait_until
from daemons import PHOTOS, House
from disks import small_disk
from webs import ANY_PORT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a daemon a user of its own"),
]
USER = 1_000_000 + os.getpid()
RIGHTS = "+dac_override,+dac_read_search,+fowner,+chown"
MANY = 4_096


def as_a_user_of_its_own(*, threads: int = MANY) -> list[str]:
    """The command before a daemon whose user runs nothing else, and may open what root may."""
    who = ["setpriv", f"--reuid={USER}", f"--inh-caps={RIGHTS}", f"--ambient-caps={RIGHTS}"]
    return ["prlimit", f"--nproc={threads}:{MANY}", *who]


@contextmanager
def house_of_a_user(root: Path, **settings: Any) -> Iterator[House]:
    house = House(root, {"web": ANY_PORT, **settings})
    try:
        yield house
    finally:
        house.kill()


def threads_of(house: House) -> int:
    assert house.process
    return len(list(Path(f"/proc/{house.process.pid}/task").iterdir()))


def bound(house: House, threads: int) -> None:
    assert house.process
    limit = ["prlimit", f"--pid={house.process.pid}", f"--nproc={threads}:{MANY}"]
    subprocess.run(["setpriv", f"--reuid={USER}", *limit], check=True)


def bring(house: House, name: str) -> None:
    shutil.copyfile(PHOTOS[0], house.inbox / name)


def is_logged(logs: Path, images: int) -> bool:
    return sum(file.read_text().count("\n") for file in logs.glob("results.jsonl*")) == images


@pytest.mark.parametrize("missing", [2, 4, 6])
def test_a_start_without_room_for_all_threads_goes_on_once_there_is(tmp_path: Path, missing: int) -> None:
    """Where the inbox's watcher had lacked one, it was never looked at again; else nothing went on at all."""
    with house_of_a_user(tmp_path) as house:
        house.under = as_a_user_of_its_own()
        house.start()
        wait_until(lambda: "dashboard at" in house.daemon_log())
        at_rest = threads_of(house)
        house.kill()
        house.under = as_a_user_of_its_own(threads=at_rest - missing)
        house.spawn()
        wait_until(lambda: "no thread can be started" in house.daemon_log())
        bound(house, MANY)
        bring(house, "1.jpg")
        wait_until(lambda: len(house.records()) == 1)
        wait_until(lambda: house.status()["troubles"] == {})
        assert "Traceback" not in house.daemon_log()


def test_a_start_that_stays_without_threads_ends_with_a_line(tmp_path: Path) -> None:
    """Its main thread ended alone, and the others went on for ever, doing nothing."""
    with house_of_a_user(tmp_path) as house:
        house.under = as_a_user_of_its_own(threads=4)
        house.spawn()
        assert house.ended() == 1
        assert "no thread can be started" in house.daemon_log()
        assert "Traceback" not in house.daemon_log()


def test_images_are_recorded_and_the_log_rolled_while_no_thread_can_be_started(tmp_path: Path) -> None:
    """Compressing the log, and copying to another disk, need one; the recorder ended with the daemon."""
    (tmp_path / "processed").mkdir()
    with (
        small_disk(tmp_path / "processed", size="16m"),
        house_of_a_user(tmp_path, log={"max_bytes": 1_000, "backups": 9}) as house,
    ):
        house.under = as_a_user_of_its_own()
        house.start()
        wait_until(lambda: "dashboard at" in house.daemon_log())
        bound(house, 1)
        for number in range(6):
            bring(house, f"{number}.jpg")
            wait_until(partial(is_logged, tmp_path / "logs", number + 1))
        bound(house, MANY)
        wait_until(lambda: not house.waiting())
        wait_until(lambda: house.status()["stats"]["counters"]["done"] == 6)
        assert len(list(house.processed.rglob("*.jpg"))) == 6
        assert "Traceback" not in house.daemon_log()
        assert house.stop() == 0


def test_who_waits_for_a_thread_in_vain_is_told_what_there_is_too_much_of() -> None:
    code = (
        "import threading\n"
        "from dropsight.errors import MachineError\n"
        "from dropsight.threads import begin\n"
        "try:\n"
        "    begin(threading.Thread(target=print, name='one more'), patience_seconds=0)\n"
        "except MachineError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [*as_a_user_of_its_own(threads=1), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no thread can be started for one more: too many already (ulimit -u, TasksMax=" in done.stdout
