"""The first three promises, across kills at any instant; and images that do the killing."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from brokers import wait_until
from daemons import PHOTOS, House, dropsight
from dropsight.crashpoints import VARIABLE
from dropsight.records import drop_id
from dropsight.service.backlog import LEFT_FOR_OTHERS
from dropsight.service.inhand import InHand
from torture import torture

POISON = f"{VARIABLE}=in_decoding:poison".split("=")


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_at_every_named_step_and_at_random_lose_nothing_and_repeat_only_what_was_in_flight(
    tmp_path: Path,
) -> None:
    found = torture(tmp_path / "torture", kills=20, images=2000, seed=1)
    assert found.is_clean(), found.report()
    assert [how for how in found.ends if how != "killed"] == []


def test_an_image_that_kills_the_process_is_refused_after_its_second_death(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    (house.inbox / "bad.jpg").write_bytes(PHOTOS[0].read_bytes() + b"poison")
    try:
        house.spawn(**dict([POISON]))
        assert house.ended() == -9
        for photo in PHOTOS[:3]:
            shutil.copy(photo, house.inbox)
        house.spawn(**dict([POISON]))
        wait_until(lambda: len(house.records()) == 4)
        assert house.stop() == 0
    finally:
        house.kill()
    (refused,) = (record for record in house.records() if record["status"] == "failed")
    assert refused["image_path"] == "bad.jpg"
    assert refused["error"]["code"] == "unreadable"
    assert "twice" in refused["error"]["message"]
    assert (house.failed / "bad.jpg").exists()


def test_of_a_crowd_only_what_was_at_hand_is_suspected(tmp_path: Path) -> None:
    """Though decode workers take several at a time: two of them and two interpreters hold an image each."""
    house = House(tmp_path, {"inference": {"workers": 2, "decoders": 2}})
    for number in range(120):
        ending = b"poison" if number == 40 else b""
        (house.inbox / f"{number:03}.jpg").write_bytes(PHOTOS[number % len(PHOTOS)].read_bytes() + ending)
    try:
        house.spawn(**dict([POISON]))
        assert house.ended() == -9
        assert len(house.records()) < 120 - LEFT_FOR_OTHERS
        house.spawn(**dict([POISON]))
        wait_until(lambda: len(house.records()) == 120)
        assert house.stop() == 0
    finally:
        house.kill()
    assert [each["image_path"] for each in house.records() if each["status"] == "failed"] == ["040.jpg"]
    assert 1 <= house.daemon_log().count("tried by itself first") <= 4


def test_an_image_that_kills_the_interpreter_is_refused_as_the_model_s_error(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    plain = np.full((300, 300, 3), 127, np.uint8)
    (house.inbox / "plain.png").write_bytes(cv2.imencode(".png", plain)[1].tobytes())
    try:
        house.spawn(**{VARIABLE: "in_invoking"})
        assert house.ended() == -9
        shutil.copy(PHOTOS[0], house.inbox)
        house.spawn(**{VARIABLE: "in_invoking"})
        wait_until(lambda: len(house.records()) == 2)
        assert house.stop() == 0
    finally:
        house.kill()
    (refused,) = (record for record in house.records() if record["status"] == "failed")
    assert (refused["image_path"], refused["error"]["code"]) == ("plain.png", "model_error")
    assert "twice" in refused["error"]["message"]


def test_an_innocent_image_that_was_in_hand_at_two_deaths_is_classified(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    shutil.copy(PHOTOS[0], house.inbox)
    record_id = id_of(house.inbox / PHOTOS[0].name)
    for _ in range(2):
        (tmp_path / "state").mkdir(exist_ok=True)
        in_hand = InHand(tmp_path / "state" / "in-hand")
        in_hand.note(0, record_id, "invoke")
        in_hand.close()
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0
    assert "tried by itself first" in done.stderr
    assert [record["status"] for record in house.records()] == ["ok"]


def test_a_suspect_stays_one_across_lives_until_it_is_acquitted(tmp_path: Path) -> None:
    first = InHand(tmp_path / "in-hand")
    first.note(3, "a" * 32, "decode")
    first.close()
    for _ in range(2):
        later = InHand(tmp_path / "in-hand")
        assert later.suspects == {"a" * 32: "decode"}
        later.note(3, "b" * 32, "invoke")
        later.clear(3)
        later.close()
    last = InHand(tmp_path / "in-hand")
    last.acquit("a" * 32)
    last.close()
    assert InHand(tmp_path / "in-hand").suspects == {}


def test_a_damaged_list_of_what_was_in_hand_accuses_nobody(tmp_path: Path) -> None:
    (tmp_path / "in-hand").write_bytes(b"\0\xff decode nonsense" * 500)
    assert InHand(tmp_path / "in-hand").suspects == {}


def id_of(path: Path) -> str:
    stat = path.stat()
    return drop_id("test", path.name.encode(), stat.st_size, stat.st_mtime_ns)
