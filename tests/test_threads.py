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

import numpy as np
import pytest
from PIL import Image

from brokers import mosquitto, wait_until
from daemons import PHOTOS, House
from disks import small_disk
from webs import ANY_PORT, address, ask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a daemon a user of its own"),
]
USER = 1_000_000 + os.getpid()
RIGHTS = "+dac_override,+dac_read_search,+fowner,+chown"
MANY = 4_096


# While an image is in hand, no further thread is to be had: none has so large a stack.
LATE = """
import sys, threading, time
from dropsight import entry, threads
from dropsight.service.daemon import Daemon

def serve_web(self):
    while not self._intake.backlog.counters().in_hand:
        time.sleep(0.001)
    threading.stack_size(2**46)
    threads.begin(threading.Thread(target=print, name="one more"), patience_seconds=0)

Daemon._serve_web = serve_web
sys.argv = ["dropsight", *sys.argv[4:]]
entry.main()
"""


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
    try:
        return sum(file.read_text().count("\n") for file in logs.glob("results.jsonl*")) == images
    except FileNotFoundError:  # rolled meanwhile
        return False


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


def test_no_image_is_suspected_of_what_a_lack_of_threads_ended(tmp_path: Path) -> None:
    """Each such end was a crash: after three, images came one by one; what was in hand was blamed."""
    (tmp_path / "late.py").write_text(LATE)
    house = House(tmp_path, {})
    house.under = [sys.executable, str(tmp_path / "late.py")]
    pixels = np.random.default_rng(3).integers(0, 256, (1500, 1500, 3), np.uint8)
    Image.fromarray(pixels).save(house.inbox / "slow.jp2")
    try:
        house.spawn()
        assert house.ended() == 1
        assert "no thread can be started for one more" in house.daemon_log()
        assert house.waiting() == [house.inbox / "slow.jp2"]
        assert not (tmp_path / "state" / "starts").exists()
        house.under = ()
        house.start()
        house.until(lambda: len(house.records()) == 1)
        assert house.records()[0]["status"] == "ok", house.records()
        assert "crashed" not in house.daemon_log()
    finally:
        house.kill()


def test_a_connection_for_which_there_is_no_thread_leaves_nothing_open(tmp_path: Path) -> None:
    """Each attempt left a descriptor, until none was left."""
    code = (
        "import os, sys, threading\n"
        "from dropsight import threads\n"
        "from dropsight.config import Mqtt\n"
        "from dropsight.errors import MachineError\n"
        "from dropsight.sinks.mqtt.broker import Broker\n"
        "from dropsight.sinks.mqtt.connection import Connection\n"
        "threads.begin.__kwdefaults__['patience_seconds'] = 0\n"
        "threading.stack_size(2**46)\n"
        "for _ in range(6):\n"
        "    broker = Broker.of(Mqtt(url=sys.argv[1]))\n"
        "    one = Connection(broker, '5', client_id='few', will=None, keepalive=60)\n"
        "    try:\n"
        "        one.open()\n"
        "    except MachineError:\n"
        "        print(len(os.listdir('/proc/self/fd')))\n"
    )
    with mosquitto(tmp_path) as broker:
        done = subprocess.run(
            [sys.executable, "-c", code, broker.url], capture_output=True, text=True, check=True
        )
    first, *others = map(int, done.stdout.split())
    assert others == 5 * [first]


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


def test_a_dashboard_for_which_there_is_no_thread_says_so_once_and_answers_again_when_there_is(
    tmp_path: Path,
) -> None:
    """Each request was answered with a 500, and had a traceback in the log."""
    with house_of_a_user(tmp_path) as house:
        house.under = as_a_user_of_its_own()
        house.start()
        bring(house, "a.jpg")
        wait_until(lambda: len(house.records()) == 1)
        path, place = f"/api/images/{house.records()[0]['id']}/thumbnail", address(house)
        bound(house, 1)
        for _ in range(3):
            refused = ask(place, path)
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert b"no thread can be started" in refused.body
        assert house.daemon_log().count("refuses what needs a thread") == 1
        assert "Traceback" not in house.daemon_log()
        bound(house, MANY)
        wait_until(lambda: ask(place, path).status == 200)
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
