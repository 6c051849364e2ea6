"""What a machine or a service with little memory does with large pictures."""

import io
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from brokers import wait_until
from daemons import PHOTOS, running
from dropsight import children
from dropsight.classify.engine import open_engine
from dropsight.config import Config, Inference, Watch
from dropsight.errors import ImageError, MachineError, MemoryShortError, ProcessorShortError, machine_error
from dropsight.images import large
from dropsight.images.decoders import output_of
from dropsight.images.decoding import MOST_PIXELS, Wanted, bytes_of, decode_and_judge, scale_for
from dropsight.images.header import read_header
from dropsight.images.jpeg import Decoded
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.journal.mishaps import MOST_DOUBLINGS, RETRY_SECONDS, Mishaps
from dropsight.status.troubles import Troubles
from hostile import encoded, large_progressive

MIB = 2**20
AS_USUAL = Wanted((224, 224), "crop")
Written = Callable[..., None]


def png_of(side: int) -> bytes:
    """A picture that only decodes whole, and takes more than small ones may beside each other."""
    pixels = np.random.default_rng(7).integers(0, 256, (side // 40, side // 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(file, "PNG", compress_level=1)
    return file.getvalue()


@pytest.fixture(scope="module")
def png() -> bytes:
    return png_of(2600)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "available_bytes", lambda: 0)


def decoded(data: bytes) -> Decoded:
    return large.decode_where_it_fits(data, read_header(data), AS_USUAL)


@pytest.mark.usefixtures("short")
def test_where_memory_is_short_a_large_picture_is_decoded_by_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    """The kernel ended the daemon over it, again and again, and what was in hand was taken for the cause."""
    began: list[str] = []
    command = children.command

    def noted(module: str, *arguments: str) -> list[str]:
        began.append(module)
        return command(module, *arguments)

    monkeypatch.setattr(children, "command", noted)
    progressive = large_progressive(3600, 0)
    middle = len(progressive) // 2
    damaged = progressive[:middle] + 300 * b"\x55" + progressive[middle + 300 :]
    for data in (png, progressive, damaged):
        header = read_header(data)
        here = decode_and_judge(data, header, scale=scale_for(header, AS_USUAL))
        there = decoded(data)
        assert np.array_equal(here.pixels, there.pixels)
        assert here.damage == there.damage
    assert here.damage
    assert began == 3 * ["dropsight.images.large"]


def test_with_memory_for_two_of_it_a_large_picture_takes_no_process(
    monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    monkeypatch.setattr(children, "command", lambda *_: 1 / 0)
    monkeypatch.setattr(large, "available_bytes", lambda: 10 * read_header(png).whole_bytes)
    assert decoded(png).pixels.size


def test_with_memory_for_two_of_it_two_large_ones_are_not_decoded_in_here_at_once(
    monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    """Each of two dozen threads found enough memory free, and the kernel ended the daemon."""
    header, began, may_go_on = read_header(png), threading.Semaphore(0), threading.Event()
    needed = header.whole_bytes + header.whole_bytes // 8 + len(png)
    monkeypatch.setattr(large, "available_bytes", lambda: 2 * needed)
    here = list[str]()

    def slowly(*arguments: Any, **options: Any) -> Decoded:
        here.append(threading.current_thread().name)
        began.release()
        assert may_go_on.wait(60)
        return decode_and_judge(*arguments, **options)

    monkeypatch.setattr(large, "decode_and_judge", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(decoded, png)
        began.acquire()
        second = pool.submit(decoded, png)
        assert second.result(60).pixels.size
        may_go_on.set()
        assert np.array_equal(first.result(60).pixels, second.result().pixels)
    assert len(here) == 1


@pytest.mark.usefixtures("short")
def test_a_damaged_one_is_told_of_as_ever(png: bytes) -> None:
    with pytest.raises(ImageError, match="the png data is damaged") as found:
        decoded(png[:20_000] + bytes(1000) + png[21_000:])
    assert found.value.code == "unreadable"


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "sys.exit(large.main(sys.argv[1:]))"])
def test_the_image_of_a_process_for_which_there_was_too_little_memory_waits(
    monkeypatch: pytest.MonkeyPatch, png: bytes, end: str
) -> None:
    """No image is to blame for what the machine lacks."""
    program = "import os, sys; from dropsight.images import large\n"
    program += f"def none(*_, **__): raise MemoryError\nlarge.decode_and_judge = none\n{end}"
    monkeypatch.setattr(children, "command", lambda _, *more: [sys.executable, "-c", program, *more])
    with pytest.raises(MemoryShortError):
        decoded(png)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_ribbon_as_narrow_as_the_model_s_picture_takes_no_more_memory_than_what_is_reckoned_with(
    tmp_path: Path, orientation: int, *, cut: bool
) -> None:
    """Such JPEGs were held whole, five times over where they were cut off, and counted as nothing."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.new("RGB", (511, 65_500), "teal").save(file, "JPEG", exif=exif)
    data = file.getvalue()[: -10_000 if cut else None]
    (tmp_path / "ribbon.jpg").write_bytes(data)
    program = (
        "import sys\nfrom dropsight.images import large\nfrom dropsight.images.decoding import *\n"
        "from dropsight.images.header import read_header\ndata = open(sys.argv[1], 'rb').read()\n"
        "def most():  # of this program: what rusage tells has its parent's in it\n"
        "    return int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
        "before = most()\n"
        "found = large.decode_where_it_fits(data, read_header(data), Wanted((224, 224), 'crop'))\n"
        "print((most() - before) * 1024, found.pixels.size // 3, bool(found.damage))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "ribbon.jpg")], capture_output=True, check=True
    )
    taken, pixels, damaged = done.stdout.split()
    header = read_header(data)
    scale = large.scale_within_bounds(header, AS_USUAL)
    assert int(pixels) <= MOST_PIXELS
    assert int(taken) < bytes_of(header, scale) * 5 // 4
    assert damaged == (b"True" if cut else b"False")


def test_what_opencv_lacks_memory_for_anywhere_is_the_machine_s_trouble() -> None:
    error = cv2.error("Insufficient memory")
    error.code = -4
    assert isinstance(machine_error(error), MemoryShortError)


SCORE = "open('/proc/self/oom_score_adj').read()"


def test_a_process_is_the_kernel_s_first_victim_before_a_line_of_ours_is_run_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that were still starting took the last of the memory, and the daemon, which has most, ended."""
    program = f"import sys; sys.stdin.read(); print('ready'); sys.stdout.write({SCORE})"
    assert output_of([sys.executable, "-c", program], b"", "png", 1) == (0, bytearray(b"1000\n"))
    program = "import socket, sys; ours = socket.socket(fileno=int(sys.argv[1])); ours.recv(1)\n"
    program += f"ours.send({SCORE}.encode())"
    monkeypatch.setattr(children, "command", lambda _, *more: [sys.executable, "-c", program, *more])
    process, orders = children.begin("any")
    with process, orders:
        orders.send(b".")
        assert orders.recv(100) == b"1000\n"


@pytest.mark.usefixtures("short")
def test_what_would_not_fit_if_it_were_alone_is_refused(monkeypatch: pytest.MonkeyPatch, png: bytes) -> None:
    """It would be tried for ever."""
    monkeypatch.setattr(large, "most_bytes", lambda: 90 * MIB)
    with pytest.raises(ImageError, match="and there are 90 MiB for it at most") as found:
        decoded(png)
    assert found.value.code == "too_many_pixels"


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Make files of a control group, in its folder or that of one that it lies in."""
    (own := tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 900 kB\nMemAvailable: {2**22} kB\n")
    monkeypatch.setattr(children, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(children, "_GROUPS", tmp_path / "groups")

    def write(line: str, folder: str, **files: int | str) -> None:
        (own / "cgroup").write_text(f"12:cpu:/elsewhere\n{line}\n")
        (place := tmp_path / "groups" / folder).mkdir(parents=True)
        for name, said in files.items():
            (place / f"memory.{name}").write_text(f"{said}\n")

    return write


@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [
        ("0::/system.slice/d.service", "system.slice/d.service", {"max": 700 * MIB, "high": "max"}),
        ("0::/system.slice/d.service", "system.slice/d.service", {"max": "max", "high": 700 * MIB}),
        ("0::/system.slice/d.service", "system.slice", {"max": 700 * MIB, "high": "max"}),
        ("0::/not/seen/from/here", "", {"max": 700 * MIB, "high": "max"}),
    ],
)
def test_what_a_service_has_left_is_told_by_its_control_group(
    group: Written, line: str, folder: str, files: dict[str, int | str]
) -> None:
    """What was read of files and is idle is none of its use: else it would have nothing left some day."""
    stat = f"anon {100 * MIB}\ninactive_file {500 * MIB}"
    group(line, folder, **files, current=600 * MIB, stat=stat)
    assert children.available_bytes() == 600 * MIB
    assert children.most_bytes() == 508 * MIB  # beside a daemon that shows pictures, which takes 181


def test_groups_of_the_first_version_count_as_well(group: Written) -> None:
    files = {
        "limit_in_bytes": 50 * MIB,
        "usage_in_bytes": 40 * MIB,
        "stat": f"total_inactive_file {10 * MIB}",
    }
    group("4:memory:/docker/1", "memory/docker/1", **files)
    assert children.available_bytes() == 20 * MIB


def test_without_a_bound_it_is_what_the_machine_has(group: Written) -> None:
    group("0::/", "", max="max", high="max", current=1, stat="")
    assert children.available_bytes() == 2**32


@pytest.mark.parametrize("error", [MemoryShortError("images wait"), ProcessorShortError("images wait")])
def test_an_image_that_lacks_memory_or_a_processor_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: MachineError
) -> None:
    """One that never fits had all others wait each 5 s; one without a processor takes a minute."""
    pauses: list[float] = []
    backlog = Backlog()
    monkeypatch.setattr(backlog, "postpone", lambda _, *, seconds, **_how: pauses.append(seconds))
    mishaps = Mishaps(backlog, Troubles(logging.getLogger()))
    folder = DropFolder.open(Watch(path=tmp_path, processed=tmp_path / "done", failed=tmp_path / "failed"))
    candidate = backlog.hold(folder, str(tmp_path / "1.png"))
    plan = open_engine(Config(inference=Inference(workers=1))).plan
    for _ in range(MOST_DOUBLINGS + 2):
        assert mishaps.judge(error, candidate, plan, None) is None
    assert pauses == [RETRY_SECONDS * 2 ** min(times, MOST_DOUBLINGS) for times in range(len(pauses))]


@pytest.mark.slow
def test_a_stop_waits_for_no_decoder_that_hangs_and_its_image_comes_again(tmp_path: Path) -> None:
    """The stop took a minute, which the unit does not give it, and the image was recorded as unreadable."""
    pixels = np.random.default_rng(3).integers(0, 256, (1500, 1500, 3), np.uint8)
    with running(tmp_path) as house:
        Image.fromarray(pixels).save(tmp_path / "slow.jp2")
        (tmp_path / "slow.jp2").rename(house.inbox / "slow.jp2")
        wait_until(lambda: house.decoder(b"dropsight.images.apart") is not None)
        os.kill(house.decoder(b"dropsight.images.apart") or 0, signal.SIGSTOP)
        assert house.stop() == 0
        assert house.waiting() == [house.inbox / "slow.jp2"]
        assert not house.records()


@pytest.mark.slow
def test_others_do_not_wait_for_a_picture_whose_decoder_has_no_processor_and_its_trouble_stays(
    tmp_path: Path,
) -> None:
    """It held a worker for 65 s at each try, and the next image of anybody took its trouble away."""
    pixels = np.random.default_rng(3).integers(0, 256, (900, 900, 3), np.uint8)
    with running(tmp_path, inference={"workers": 1}) as house:
        Image.fromarray(pixels).save(tmp_path / "slow.jp2")
        (tmp_path / "slow.jp2").rename(house.inbox / "slow.jp2")
        decoder = house.stopped_decoder(b"dropsight.images.apart")
        for photo in PHOTOS[:3]:
            shutil.copy(photo, house.inbox)
        wait_until(lambda: len(house.records()) == 3, seconds=30)
        assert "had no processor" in house.status()["troubles"]["machine"]
        os.kill(decoder, signal.SIGCONT)
        wait_until(lambda: len(house.records()) == 4)
        assert {record["status"] for record in house.records()} == {"ok"}
        wait_until(lambda: "machine" not in house.status()["troubles"])
        assert house.stop() == 0


@pytest.mark.parametrize("kind", ["jp2", "png"])
def test_no_picture_is_blamed_for_a_decoder_that_had_no_memory_to_start(kind: str, png: bytes) -> None:
    """Where none is promised that is not there (vm.overcommit_memory=2), libraries end as they load."""
    if kind == "png":
        data, command = png, children.command("dropsight.images.large", '{"scale":1,"depth":"scale"}')
    else:
        data, command = encoded(".jp2"), children.command("dropsight.images.apart", kind, "20000", "9", "1")
    for kilobytes in (10_000, 40_000, 100_000, 160_000):
        starved = ["sh", "-c", f'ulimit -v {kilobytes} && exec "$@"', "sh", *command]
        with pytest.raises(MachineError):
            output_of(starved, data, kind, 10)
    assert output_of(command, data, kind, 10)[0] == 0
