"""The daemon's memory stays flat."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import mosquitto, wait_until
from daemons import PHOTOS, House, command, running
from dropsight.models.backends import locate
from processes import begin
from tiny_tflite import quick

MIB = 2**20


def feed(house: House, count: int, *, batch: str) -> int:
    """Let so many images through; return the resident bytes afterwards."""
    before = house.finished()
    for number in range(count):
        shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{batch}-{number}.jpg")
    house.until(lambda: house.finished() == before + count)
    resident: int = house.status()["stats"]["memory_bytes"]
    return resident


# Two threads that classify 500 photos, with the libraries that the daemon needs, and nothing else.
BARE = """
import sqlite3, ssl, sys, threading
import cv2, msgspec, numpy, paho.mqtt.client, yaml
from ai_edge_litert.interpreter import Interpreter

def work():
    interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
    interpreter.allocate_tensors()
    tensor = interpreter.get_input_details()[0]
    for number in range(250):
        image = cv2.resize(cv2.imread(sys.argv[2 + number % len(sys.argv[2:])]), (224, 224))
        interpreter.set_tensor(tensor["index"], image[None].view(tensor["dtype"]))
        interpreter.invoke()
    interpreters.append(interpreter)

interpreters = []
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(int(open("/proc/self/statm").read().split()[1]) * 4096)
"""


def bare() -> int:
    """Return the resident bytes of a process that does no more with 500 images than it must."""
    arguments = [str(locate("builtin:efficientnet_lite0")), *map(str, PHOTOS)]
    done = subprocess.run([sys.executable, "-c", BARE, *arguments], stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


@pytest.mark.broker
@pytest.mark.slow
def test_500_images_leave_a_quarter_more_than_a_bare_process_and_500_more_add_nothing(tmp_path: Path) -> None:
    """A heap's usual breathing of 3 MiB is no growth. A library's bytes are the processor's matter."""
    with mosquitto(tmp_path) as broker, running(tmp_path, mqtt={"url": broker.url}) as house:
        first = feed(house, 500, batch="first")
        second = feed(house, 500, batch="second")
    assert first <= 1.25 * bare()
    assert second <= first + 3 * MIB


def peak_of_batch(folder: Path, photos: int) -> int:
    """Peak resident bytes of `dropsight batch` over so many photos, by a model that takes no time."""
    model = quick(folder)
    inbox = folder / str(photos)
    inbox.mkdir()
    for number in range(photos):
        shutil.copyfile(PHOTOS[number % len(PHOTOS)], inbox / f"{number}.jpg")
    process = begin(command("batch", str(inbox), "--model", str(model), "-o", str(folder / "out.json")))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


@pytest.mark.slow
def test_batch_over_2000_photos_takes_little_more_memory_than_over_200(tmp_path: Path) -> None:
    """Results are on disk as they come; what grows is the list of paths."""
    assert peak_of_batch(tmp_path, 2000) <= peak_of_batch(tmp_path, 200) + 8 * MIB


# Notes each time that memory is given back.
NOTING = """
import sys

from dropsight.service import daemon

give_back = daemon.give_memory_back

def noted():
    give_back()
    print("given back", file=open("given", "a"))

daemon.give_memory_back = noted
sys.argv = ["dropsight", *sys.argv[4:]]
from dropsight.entry import main

sys.exit(main())
"""


def test_after_a_busy_while_what_lies_unused_goes_back_once(tmp_path: Path) -> None:
    """After a flood of large pictures 388 MiB stayed with an idle daemon, of which 230 were in use."""
    house = House(tmp_path, {"stats": {"interval_seconds": 1}})
    (tmp_path / "launcher.py").write_text(NOTING)
    house.under = ["env", "-C", str(tmp_path), sys.executable, str(tmp_path / "launcher.py")]
    given = tmp_path / "given"

    def times() -> int:
        return given.read_text().count("given back") if given.exists() else 0

    try:
        house.start()
        feed(house, 3, batch="first")
        wait_until(lambda: times() > 0)
        before = times()
        wait_until(lambda: house.status()["stats"]["uptime_seconds"] > 4)
        assert times() == before
        feed(house, 3, batch="second")
        wait_until(lambda: times() > before)
    finally:
        house.kill()


FAULTS = """
import resource, sys
from dropsight.classify.resources import share_memory
from dropsight.images.decoding import decode
from dropsight.images.header import read_header
share_memory()
data = open(sys.argv[1], "rb").read() + bytes(2**20)
def work():
    for _ in range(100):
        decode(bytes(bytearray(data)), read_header(data), at_least=(224, 224), how="crop")
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_an_image_finds_its_memory_where_the_one_before_it_left_it() -> None:
    """Each page fetched anew is a fault: without, hundreds an image."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, str(PHOTOS[0])], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100
