"""A clip in the midst of being read: kills, stops, reloads, and images that come meanwhile."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from brokers import wait_until
from clips import make_clip, of_photos
from daemons import PHOTOS, House
from dropsight.config import Watch
from dropsight.crashpoints import VARIABLE
from dropsight.errors import MachineError
from dropsight.images.opening import open_named
from dropsight.intake import clip_lane
from dropsight.intake.backlog import Backlog
from dropsight.intake.folder import DropFolder
from dropsight.intake.in_hand import CONVICTED_BY_CRASHES, InHand
from dropsight.intake.trying_alone import TRIALS
from dropsight.intake.turns import Turns
from dropsight.video.decoder import ClipBounds, ClipDecoder
from dropsight.video.sampling import Sampling
from dropsight.video.wire import ClipOrder, Frames
from processes import end

ONE_BY_ONE = {"inference": {"workers": 1}}
ORDER = ClipOrder(Sampling(), Frames((64, 64), "crop", 1.0), 10**8, 60.0, whole_only=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [picture for picture in of_photos(PHOTOS[:4]) for _ in range(5)]
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", pictures)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, ONE_BY_ONE)
    try:
        yield house
    finally:
        house.kill()


def _is_gone(place: Path) -> bool:
    return not place.exists()


def kinds(house: House) -> list[tuple[str, str]]:
    return [(record["kind"], record["status"]) for record in house.records()]


@pytest.mark.slow
def test_images_overtake_a_clip_that_is_being_read_and_those_that_wait(house: House, clip: Path) -> None:
    house.start()
    with house.clip_in_hand(clip, "first.mkv"):
        for number in range(5):
            shutil.copy(clip, house.inbox / f"{number}.mkv")
        house.ask("rescan")
        for number in range(3):
            shutil.copy(PHOTOS[number], house.inbox)
        wait_until(lambda: kinds(house)[1:] == [("image", "ok")] * 3, what="the images' records")
        wait_until(lambda: house.status()["stats"]["clips"]["waiting"] == 6, what="the other clips wait")
    house.until(lambda: len(house.records()) == 10, what="a record of each clip")


@pytest.mark.slow
def test_a_stop_leaves_the_clip_in_the_inbox_and_the_next_start_takes_it(house: House, clip: Path) -> None:
    house.start()
    with house.clip_in_hand(clip, "clip.mkv") as decoder:
        assert house.stop() == 0
        assert not Path(f"/proc/{decoder}").exists()
    assert [path.name for path in house.waiting()] == ["clip.mkv"]
    house.start()
    wait_until(lambda: kinds(house) == [("clip", "ok")] * 2)


@pytest.mark.slow
def test_kills_of_daemon_and_decoder_in_mid_clip_cost_no_record_and_repeat_none(
    house: House, clip: Path
) -> None:
    """Nothing of a clip can have ended the daemon while the other process read it: it is no suspect."""
    house.start()
    for count in (2, 4, 6):
        with house.clip_in_hand(clip, "clip.mkv") as decoder:
            assert house.process
            end(house.process)
        ended = Path(f"/proc/{decoder}")
        wait_until(partial(_is_gone, ended), what="the decoder ends as well")
        house.start()
        house.until(lambda: not house.waiting(), what="an empty inbox")
        assert len(house.records()) == count
    with house.clip_in_hand(clip, "clip.mkv") as decoder:
        os.kill(decoder, signal.SIGKILL)
    wait_until(lambda: len(house.records()) == 8, what="the clip is read again")
    assert kinds(house) == [("clip", "ok")] * 8


@pytest.mark.slow
def test_a_clip_whose_decoder_is_killed_again_and_again_fails_and_the_next_is_read(
    house: House, clip: Path
) -> None:
    house.start()
    with house.clip_in_hand(clip, "bad.mkv"):
        while len(house.records()) < 2:
            if decoder := house.decoder():
                os.kill(decoder, signal.SIGKILL)
            time.sleep(0.05)
    assert house.records()[1]["error"] == {
        "code": "unreadable",
        "message": "it needs more memory than there is: its decoder was killed 3 times",
    }
    shutil.copy(clip, house.inbox / "good.mkv")
    wait_until(lambda: len(house.records()) == 3)
    assert kinds(house)[2] == ("clip", "ok")


@pytest.mark.slow
def test_a_clip_whose_decoder_is_killed_beside_that_of_a_large_picture_waits(
    house: House, clip: Path
) -> None:
    """The kernel ends the larger one: an inbox's HEIC that never fit had another's clip of 6K fail."""
    pixels = np.random.default_rng(3).integers(0, 256, (1500, 1500, 3), np.uint8)
    house.start()
    with house.clip_in_hand(clip, "clip.mkv"):
        (house.inbox / "noise.jp2").write_bytes(cv2.imencode(".jp2", pixels)[1].tobytes())
        beside = stopped(house, b"dropsight.images.apart")
        for killed in range(TRIALS + 1):
            wait_until(lambda: house.decoder() is not None, what=f"a decoder after {killed} kills")
            decoder = house.decoder()
            assert decoder
            os.kill(decoder, signal.SIGKILL)
            wait_until(partial(_is_gone, Path(f"/proc/{decoder}")))
    os.kill(beside, signal.SIGCONT)
    wait_until(lambda: len(house.records()) == 3, what="a record of each")
    assert [record["status"] for record in house.records()] == ["ok"] * 3


def stopped(house: House, module: bytes) -> int:
    """Have a process of this kind stand still as soon as there is one, and return it."""
    wait_until(lambda: house.decoder(module) is not None)
    found = house.decoder(module)
    assert found
    os.kill(found, signal.SIGSTOP)
    return found


def test_a_reload_in_mid_clip_lets_it_be_finished_by_the_model_that_began_it(
    house: House, clip: Path
) -> None:
    house.start()
    with house.clip_in_hand(clip, "clip.mkv"):
        house.configure({"inference": {"workers": 1, "top_k": 2}})
        house.ask("reload")
    wait_until(lambda: len(house.records()) == 2)
    shutil.copy(clip, house.inbox / "later.mkv")
    wait_until(lambda: len(house.records()) == 3)
    assert [len(record["predictions"]) for record in house.records()] == [5, 5, 2]


@pytest.mark.slow
def test_other_settings_of_clips_restart_the_daemon_and_the_clip_is_read_by_these(
    house: House, clip: Path
) -> None:
    house.start()
    with house.clip_in_hand(clip, "clip.mkv"):
        house.configure({**ONE_BY_ONE, "video": {"aggregate": "max"}})
        house.ask("reload")
    wait_until(lambda: len(house.records()) == 2)
    assert [record["clip"]["aggregate"] for record in house.records()] == ["top_k_mean", "max"]


@pytest.mark.slow
@pytest.mark.parametrize("point", ["in_examining:bad.mkv", "in_invoking", "in_filing_away:bad.mkv"])
def test_a_clip_that_crashes_the_process_twice_is_refused_at_the_third_start(
    house: House, clip: Path, point: str
) -> None:
    """The frames of the bad one are of one colour, at which `in_invoking` crashes."""
    make_clip(house.inbox / "bad.mkv", [np.full((64, 96, 3), 99, np.uint8)] * 20)
    for _ in range(CONVICTED_BY_CRASHES):
        house.spawn(**{VARIABLE: point})
        assert house.ended() == -signal.SIGSEGV
    shutil.copy(clip, house.inbox / "good.mkv")
    house.spawn(**{VARIABLE: point})
    wait_until(lambda: len(house.records()) == 2)
    status = {record["image_path"]: record["status"] for record in house.records()}
    assert status == {"bad.mkv": "ok" if "filing" in point else "failed", "good.mkv": "ok"}
    assert house.stop() == 0


def test_a_clip_that_may_have_ended_the_process_waits_while_images_do(tmp_path: Path) -> None:
    """Else whoever is in hand beside it would be suspected as well."""
    folder = DropFolder.open(Watch(path=tmp_path), clips=["*.mkv"])
    bad, image = str(tmp_path / "bad.mkv"), str(tmp_path / "image.jpg")
    in_hand = InHand(tmp_path / "in-hand")
    in_hand.note(0, bad, "invoke")
    os.close(in_hand._fd)  # noqa: SLF001 - as its process ends
    backlog = Backlog(turns=Turns(InHand(tmp_path / "in-hand")))
    backlog.hint(folder, bad, closed=True)
    backlog.hint(folder, image, closed=True)
    assert backlog.take_clip(seconds=0.1) is None
    taken = backlog.take()
    assert taken is not None
    assert taken.path == image
    found = backlog.take_clip(seconds=10)
    assert found is not None
    assert found.path == bad
    backlog.stop()


def test_a_clip_that_may_have_ended_the_process_waits_for_images_in_the_first_minute_of_a_life_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for a minute more after each rest: 150 s after a few ends by a watchdog."""
    monkeypatch.setattr(clip_lane, "SUSPECT_SECONDS", 3.0)
    folder = DropFolder.open(Watch(path=tmp_path), clips=["*.mkv"])
    bad = str(tmp_path / "bad.mkv")
    in_hand = InHand(tmp_path / "in-hand")
    in_hand.note(0, bad, "invoke")
    os.close(in_hand._fd)  # noqa: SLF001 - as its process ends
    backlog = Backlog(turns=Turns(InHand(tmp_path / "in-hand")))
    backlog.hint(folder, bad, closed=True)
    backlog.hint(folder, str(tmp_path / "image.jpg"), closed=True)
    assert backlog.take_clip(seconds=0.1) is None
    for _ in range(2):
        began = time.monotonic()
        clip = backlog.take_clip(seconds=60)
        assert clip
        backlog.postpone(clip, seconds=0.0)
    assert time.monotonic() - began < 3.0
    backlog.stop()


def test_a_machine_without_descriptors_is_at_fault_and_not_the_clip(clip: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open_named(clip) as file, ClipDecoder(ClipBounds()) as decoder:
        resource.setrlimit(resource.RLIMIT_NOFILE, (file.fd + 1, usual[1]))
        try:
            with pytest.raises(MachineError, match="clips wait"):
                list(decoder.decode(file, ORDER))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, usual)
        assert list(decoder.decode(file, ORDER))
