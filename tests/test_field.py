"""Situations from public threads on cameras, sync tools and brokers, with the real daemon: docs/field.md."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running

FIRST, SECOND = (path.read_bytes() for path in PHOTOS[:2])
NAMES = [
    *("front door 2.jpg", "2018-12-01T21:21:27-06:00.jpg", "IMG_205534:nopm:.jpg", "UPPER.JPG", "trail..jpg"),
    *("two\nlines.jpg", "Gärten🏆.jpg", "-rf.jpg", "a%20b#c?.jpg", "08[M][0@0][0].jpg"),
]
LEAVINGS = {
    ".syncthing.b.jpg.tmp": FIRST[:3000],
    ".syncthing.c.jpg": FIRST[:3000],
    "~syncthing~d.jpg.tmp": FIRST[:3000],
    "e.jpg.ocTransferId1548366895.part": FIRST[:3000],
    "f.jpg.d41d8cd9.partial": FIRST[:3000],
    "._a.jpg": b"\0\5\26\7",
    ".DS_Store": b"\0",
    "Thumbs.db": b"\0",
    "a.jpg.idx": b"\0",
    "a.mp4.idx": b"\0",
}
YEAR = 365 * 86400


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One for all, each with a camera of its own."""
    with running(tmp_path_factory.mktemp("house"), queue={"max_age": 3600}) as house:
        yield house


def camera(house: House, name: str) -> Path:
    folder = house.inbox / name
    folder.mkdir()
    return folder


def recorded(house: House, name: str) -> dict[str, str]:
    """Return what became of the images of one camera, by their names."""
    return {r["image_path"].partition("/")[2]: r["status"] for r in house.records() if r["camera"] == name}


def test_names_as_cameras_and_phones_make_them_are_recorded_and_filed_as_they_are(house: House) -> None:
    folder = camera(house, "names")
    for name in NAMES:
        (folder / name).write_bytes(FIRST)
    wait_until(lambda: recorded(house, "names") == dict.fromkeys(NAMES, "ok"))
    wait_until(lambda: {path.name for path in (house.processed / "names").iterdir()} == set(NAMES))


def test_what_sync_tools_leave_is_left_alone_and_a_copy_of_a_conflict_is_an_image(house: House) -> None:
    folder = camera(house, "sync")
    for name, content in LEAVINGS.items():
        (folder / name).write_bytes(content)
    copy = "a.sync-conflict-20170215-122933-ABCDEFG.jpg"
    (folder / copy).write_bytes(SECOND)
    (folder / "a.jpg").write_bytes(FIRST)
    house.ask("rescan")
    wait_until(lambda: recorded(house, "sync") == {"a.jpg": "ok", copy: "ok"})
    wait_until(lambda: {path.name for path in folder.iterdir()} == set(LEAVINGS))


def test_pictures_that_a_camera_sends_again_are_recorded_again_and_replace_none(house: House) -> None:
    folder = camera(house, "again")
    for _ in range(2):
        for number in range(3):
            (folder / f"{number}.jpg").write_bytes(FIRST)
        wait_until(lambda: not any(folder.iterdir()))
    assert len(list((house.processed / "again").iterdir())) == 6
    assert [r["status"] for r in house.records() if r["camera"] == "again"] == ["ok"] * 6


def test_of_one_name_that_is_written_over_again_and_again_no_mixture_is_taken_and_the_last_is(
    house: House,
) -> None:
    path = camera(house, "over") / "image.jpg"
    for number in range(30):
        path.write_bytes((FIRST, SECOND)[number % 2])
    wait_until(lambda: not path.exists())
    filed = list((house.processed / "over").iterdir())
    assert {file.read_bytes() for file in filed} <= {FIRST, SECOND}
    assert SECOND in {file.read_bytes() for file in filed}
    assert {r["status"] for r in house.records() if r["camera"] == "over"} == {"ok"}


def test_an_image_is_as_old_as_its_arrival_whatever_time_a_copy_brought_with_it(house: House) -> None:
    folder = camera(house, "times")
    times = {"epoch": 0.0, "old": 1.5e9, "future": time.time() + YEAR}
    for name, when in times.items():
        part = folder / f".{name}"
        part.write_bytes(FIRST)
        os.utime(part, (when, when))
        part.rename(folder / f"{name}.jpg")
    wait_until(lambda: recorded(house, "times") == {f"{name}.jpg": "ok" for name in times})


@pytest.mark.slow
@pytest.mark.broker
def test_a_broker_that_comes_back_with_nothing_is_told_all_again(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        with running(tmp_path, mqtt={"url": broker.url}) as house:
            (camera(house, "front") / "a.jpg").write_bytes(FIRST)
            with Subscriber(broker.port) as heard:
                wait_until(lambda: bool(heard.topics("/state/front")))
            broker.kill()
            broker.start()
            with Subscriber(broker.port, "#") as heard:
                wanted = ("/availability", "/info", "/state/front", "dropsight_test/config")
                wait_until(lambda: all(heard.topics(part) for part in wanted))
                assert heard.topics("/availability") == [b"online"]
    finally:
        broker.kill()


@pytest.mark.slow
@pytest.mark.broker
def test_check_says_that_the_broker_takes_none_of_our_messages(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("user anonymous\ntopic read #\n")
    rules.chmod(0o600)
    with mosquitto(tmp_path, extra=f"allow_anonymous true\nacl_file {rules}\n") as broker:
        house = House(tmp_path, {"mqtt": {"url": broker.url, "protocol": "5"}})
        done = dropsight("check", "-c", str(house.config))
    assert done.returncode != 0
    assert "dropsight/test/command/response: Not authorized" in done.stdout + done.stderr
