"""Processes of ours that somebody ends, or that get no processor: no picture is to blame for that."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import wait_until
from clips import make_clip, numbered
from daemons import PHOTOS
from dropsight import children
from dropsight.classify import trial
from dropsight.errors import (
    ImageError,
    MachineError,
    MemoryShortError,
    ProcessorShortError,
    StillDecodingError,
)
from dropsight.images import decoders
from dropsight.images.decoders import output_of
from dropsight.images.opening import open_named
from dropsight.models.backends import open_model
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.video.sampling import Sampling
from dropsight.video.wire import ClipOrder, Frames
from processes import begin, child_about, end

ENDED_BY_SOMEBODY = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGALRM]
CRASHES = [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL]

EVERY_FRAME = ClipOrder(Sampling(skip_still=False), Frames(None, "crop", 0.875), 10**8, 60.0, whole_only=True)


def ends_by(number: int) -> list[str]:
    """Whoever runs the tests may have some ignored, which is inherited."""
    program = f"import os, signal; signal.signal({number:d}, signal.SIG_DFL); print('ready', flush=True); "
    return [sys.executable, "-c", f"{program}os.kill(os.getpid(), {number:d})"]


@pytest.mark.parametrize("number", ENDED_BY_SOMEBODY)
def test_a_picture_waits_whose_decoder_somebody_has_ended(number: int) -> None:
    """At a stop systemd tells every process of the service: each HEIC in hand then was called damaged."""
    with pytest.raises(MachineError, match="images wait"):
        output_of(ends_by(number), b"", "heic", 10)


@pytest.mark.parametrize("number", CRASHES)
def test_a_picture_that_crashes_its_decoder_is_to_blame(number: int) -> None:
    with pytest.raises(ImageError, match="crashes its decoder"):
        output_of(ends_by(number), b"", "heic", 10)


def test_a_picture_waits_whose_decoder_had_no_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the service may have been frozen, or the machine."""
    monkeypatch.setattr(decoders, "SECONDS", 1.0)
    with pytest.raises(MachineError, match="no processor"):
        output_of(["sh", "-c", "kill -STOP $$"], b"", "heic", 10)


def test_a_picture_is_to_blame_over_which_its_decoder_sleeps_for_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that had waited for itself was tried again and again, and a suspect never refused."""
    monkeypatch.setattr(decoders, "SECONDS", 1.0)
    with pytest.raises(ImageError, match="takes more than 1 s"):
        output_of([sys.executable, "-c", "import time; time.sleep(60)"], b"", "heic", 10)


def test_a_process_that_works_for_too_long_is_waited_for_no_longer() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        working = children.WorkingTime(process.pid, 1.0, patience=600.0)
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                children.communicated_within(working, process, None)
        finally:
            process.kill()


WORKS_BESIDE_A_NEIGHBOUR = """
import os, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
ours = os.getpid()
os.fork()
while os.getpid() != ours and os.getppid() == ours or os.getpid() == ours and time.process_time() < 1.6:
    pass
"""


def test_a_process_that_a_busy_neighbour_leaves_half_a_processor_has_all_of_its_time() -> None:
    """A quarter counted as all of one: a clip had 450 s of the 600 that it may take, and failed for good."""
    with subprocess.Popen([sys.executable, "-c", WORKS_BESIDE_A_NEIGHBOUR]) as process:
        working = children.WorkingTime(process.pid, 2.5, patience=100.0)
        children.communicated_within(working, process, None)


def test_a_picture_is_not_to_blame_that_a_busy_neighbour_leaves_half_a_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of 48 megapixels works for 24 s on a small machine: with a third of that, it failed for good."""
    monkeypatch.setattr(decoders, "SECONDS", 2.0)
    with pytest.raises(MachineError, match="images wait"):
        output_of([sys.executable, "-c", WORKS_BESIDE_A_NEIGHBOUR], b"", "heic", 10)


STOPS_ITSELF = ["sh", "-c", "kill -STOP $$; cat >/dev/null; echo ready; echo of $0"]


def still_decodes(name: str, data: bytes) -> bool:
    try:
        with decoders.coming_again("inbox"):
            return output_of([*STOPS_ITSELF, name], data, "heic", 10) != (
                0,
                bytearray(f"of {name}\n".encode()),
            )
    except StillDecodingError:
        return True


def test_a_decoder_without_a_processor_goes_on_until_its_picture_comes_again() -> None:
    """It held its worker for a minute, and began anew: with a tenth of a core it never got done."""
    picture = os.urandom(1_000_000)  # more than a pipe holds
    with decoders.hurrying(after_seconds=600):
        assert still_decodes("one", picture)
        assert still_decodes("one", picture)  # at once
        (child,) = stopped_children()
        os.kill(child, signal.SIGCONT)
        wait_until(lambda: not still_decodes("one", picture))


def test_of_pictures_without_a_processor_as_many_are_decoded_as_have_room_and_none_is_left_at_a_stop() -> (
    None
):
    with decoders.hurrying(after_seconds=600):
        for name in ("one", "two"):
            with pytest.raises(StillDecodingError), decoders.coming_again("inbox"):
                output_of([*STOPS_ITSELF, name], b"", "heic", 60 - 20 * (name == "two"))
        with pytest.raises(ProcessorShortError) as waits, decoders.coming_again("inbox"):
            output_of([*STOPS_ITSELF, "three"], b"", "heic", 10)
        assert not isinstance(waits.value, StillDecodingError)
        assert stopped_children()
    wait_until(lambda: not stopped_children())


def test_whoever_fills_one_inbox_leaves_room_for_a_picture_of_another_that_lacks_a_processor() -> None:
    """Four of 15 megapixels in one inbox had each picture of others wait, twice as long each time."""
    with decoders.hurrying(after_seconds=600):
        for name in ("one", "two", "three", "four"):
            with pytest.raises(StillDecodingError), decoders.coming_again("filled"):
                output_of([*STOPS_ITSELF, name], b"", "heic", 25)
        with pytest.raises(StillDecodingError), decoders.coming_again("other"):
            output_of([*STOPS_ITSELF, "five"], b"", "heic", 10)
        with pytest.raises(ProcessorShortError) as waits, decoders.coming_again("other"):
            output_of([*STOPS_ITSELF, "six"], b"", "heic", 10)
        assert not isinstance(waits.value, StillDecodingError)
        assert len(stopped_children()) == 5
    wait_until(lambda: not stopped_children())


def stopped_children() -> list[int]:
    """Those that were begun to stop themselves."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"kill -STOP" in (each / "cmdline").read_bytes():
                found.append(int(each.name))
        except OSError:
            continue
    return found


def test_what_went_to_and_fro_before_it_was_looked_at_is_not_lost() -> None:
    program = "import sys, time; data = sys.stdin.buffer.read(); print(len(data)); sys.stdout.flush(); "
    process = subprocess.Popen(
        [sys.executable, "-c", f"{program}time.sleep(1.5); print('end')"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        said, _ = children.communicated(process, bytes(1_000_000), seconds=60)
    assert said == b"1000000\nend\n"


def test_a_process_that_is_slow_to_start_is_given_all_of_a_picture() -> None:
    """It got what a pipe holds, and waited for the rest until it was taken to hang: the picture failed."""
    program = "import sys, time; time.sleep(2.5); print(len(sys.stdin.buffer.read()))"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        said, told = children.communicated(process, bytes(1_000_000), seconds=60)
    assert (bytes(said), bytes(told)) == (b"1000000\n", b"")


def test_a_process_that_ends_before_it_has_read_all_has_said_what_it_said() -> None:
    command = [sys.executable, "-c", "print('no')"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        said, _ = children.communicated(process, bytes(10_000_000), seconds=60)
    assert (bytes(said), process.returncode) == (b"no\n", 0)


def test_a_clip_waits_whose_decoder_somebody_has_ended(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", numbered(200))
    with ClipDecoder(ClipBounds()) as decoder, open_named(clip) as file:
        parts = decoder.decode(file, EVERY_FRAME)
        next(parts)
        assert decoder.pid
        os.kill(decoder.pid, signal.SIGSTOP)  # it has not sent all of it yet
        os.kill(decoder.pid, signal.SIGTERM)
        os.kill(decoder.pid, signal.SIGCONT)
        with pytest.raises(MachineError, match="ended by SIGTERM") as waits:
            list(parts)
        assert not isinstance(waits.value, MemoryShortError)


def test_a_clip_waits_whose_decoder_had_no_processor(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", numbered(200))
    with ClipDecoder(ClipBounds(patience=4.0)) as decoder, open_named(clip) as file:
        parts = decoder.decode(file, EVERY_FRAME)
        next(parts)
        assert decoder.pid
        os.kill(decoder.pid, signal.SIGSTOP)
        with pytest.raises(MachineError, match="no processor"):
            list(parts)


DECODES = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_ended_processes import EVERY_FRAME, ClipBounds, ClipDecoder, children, open_named
children._LONGEST_STEP_SECONDS = 1.0
with ClipDecoder(ClipBounds(seconds=4.0)) as decoder, open_named(sys.argv[1]) as file:
    for part in decoder.decode(file, EVERY_FRAME):
        print(decoder.pid, type(part).__name__, flush=True)
        sys.stdin.readline()
"""


def test_no_clip_takes_too_long_because_all_of_us_stood_still(tmp_path: Path) -> None:
    """As a frozen service does, or its container: what was in hand failed for good, once it went on."""
    clip = make_clip(tmp_path / "clip.mkv", numbered(4))
    asks = [sys.executable, "-c", DECODES, str(clip)]
    with subprocess.Popen(asks, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        both = process.pid, int(process.stdout.readline().split()[0])
        for each in both:
            os.kill(each, signal.SIGSTOP)
        time.sleep(5.0)  # what it is about
        for each in both:
            os.kill(each, signal.SIGCONT)
        said, _ = process.communicate("\n" * 100)
    assert said.splitlines()[-1].endswith("ClipEnd")
    assert process.returncode == 0


def aborted(folder: Path, then: str) -> list[str]:
    """A decoder of ours to which somebody sends SIGABRT."""
    sent = "import os\nprint('ready', flush=True)\nos.kill(os.getpid(), 6)\n"
    (folder / "decoder_of_a_test.py").write_text(sent + then)
    return ["env", f"PYTHONPATH={folder}", *children.command("decoder_of_a_test")]


def test_no_picture_is_to_blame_for_the_abort_that_a_watchdog_sends_to_all_of_a_service(
    tmp_path: Path,
) -> None:
    """The daemon is to end by it; until it has, its decoders' ends were called crashes."""
    assert output_of(aborted(tmp_path, "print('done')"), b"", "heic", 10) == (0, bytearray(b"done\n"))


def test_a_decoder_that_aborts_is_to_blame(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="crashes its decoder"):
        output_of(aborted(tmp_path, "os.abort()"), b"", "heic", 10)


@pytest.mark.parametrize(
    ("number", "seconds"), [(signal.SIGTERM, 120.0), (signal.SIGSTOP, 1.0)], ids=["ended", "stopped"]
)
def test_a_suspect_waits_whose_trial_somebody_has_ended_or_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, seconds: float
) -> None:
    """It was refused for good at a stop, as if it had ended that process, too."""
    monkeypatch.setattr(trial, "TRIAL_SECONDS", seconds)
    photo, spec = tmp_path / "suspect.jpg", open_model("builtin:efficientnet_lite0").spec
    photo.write_bytes(PHOTOS[0].read_bytes())
    with ThreadPoolExecutor(1) as pool:
        verdict = pool.submit(trial.tried, str(photo), spec)
        wait_until(lambda: (found := child_about(photo)) is not None and _signal(found, number))
        with pytest.raises(MachineError, match="images wait"):
            verdict.result()


def _signal(process: int, number: int) -> bool:
    os.kill(process, number)
    return True


@contextmanager
def busy_neighbours(count: int) -> Iterator[None]:
    """Have this thread, and what it begins, share one processor with so many that never rest."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    program = "print(flush=True)\nwhile True: pass"
    neighbours = [begin([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(count)]
    for each in neighbours:
        assert each.stdout
        with each.stdout:
            each.stdout.readline()
    try:
        yield
    finally:
        for each in neighbours:
            end(each)
        os.sched_setaffinity(0, before)


def test_a_suspect_waits_whose_trial_busy_neighbours_leave_little_of_a_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter counted as all of one: what TensorFlow works for half a minute was refused for good."""
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 1.0)
    photo, spec = tmp_path / "suspect.jpg", open_model("builtin:efficientnet_lite0").spec
    photo.write_bytes(PHOTOS[0].read_bytes())
    with busy_neighbours(9), pytest.raises(ProcessorShortError, match="too little of it"):
        trial.tried(str(photo), spec)
