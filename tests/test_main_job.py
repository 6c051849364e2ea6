"""The main job with a real broker: hundreds of photos arriving in every manner at once."""

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pytest

from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, running

pytestmark = pytest.mark.broker


def large_photos(folder: Path) -> list[Path]:
    """The sample photos at 1920x1080."""
    folder.mkdir()
    photos = []
    for photo in PHOTOS:
        picture = cv2.imread(str(photo))
        assert picture is not None
        photos.append(folder / photo.name)
        cv2.imwrite(str(photos[-1]), cv2.resize(picture, (1920, 1080)))
    return photos


def copy_in(house: House, photos: list[Path]) -> None:
    for number in range(200):
        shutil.copyfile(photos[number % len(photos)], house.inbox / f"cp-{number:03}.jpg")


def rename_in(house: House, photos: list[Path], staging: Path) -> None:
    staging.mkdir()
    for number in range(200):
        staged = staging / f"mv-{number:03}.jpg"
        shutil.copyfile(photos[number % len(photos)], staged)
        staged.rename(house.inbox / staged.name)


def nest(house: House, photos: list[Path]) -> None:
    for number in range(50):
        folder = house.inbox / f"cam{number % 5}" / f"day{number}"
        folder.mkdir(parents=True)
        shutil.copyfile(photos[number % len(photos)], folder / f"nested-{number}.jpg")


def write_slowly(target: Path, photo: Path) -> None:
    data = photo.read_bytes()
    size = len(data) // 10 + 1
    with target.open("wb", buffering=0) as file:
        for start in range(0, len(data), size):
            file.write(data[start : start + size])
            time.sleep(0.2)  # a slow camera is what is tested


@pytest.mark.slow
def test_470_photos_in_every_manner_at_once_give_470_lines_and_470_messages(tmp_path: Path) -> None:
    photos = large_photos(tmp_path / "large")
    sizes = {photo.stat().st_size for photo in photos}
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        with ThreadPoolExecutor(24) as pool:
            jobs = [
                pool.submit(copy_in, house, photos),
                pool.submit(rename_in, house, photos, tmp_path / "staging"),
                pool.submit(nest, house, photos),
            ]
            for number in range(20):
                target = house.inbox / f"slow-{number}.jpg"
                jobs.append(pool.submit(write_slowly, target, photos[number % len(photos)]))
            # Every look at the counters checks that they add up.
            house.until(lambda: house.finished() == 470, what="470 records")
            for job in jobs:
                job.result()
        wait_until(lambda: len(subscriber.topics("/result/")) >= 470, what="470 messages")
        assert house.waiting() == []
        assert house.stop() == 0
    lines = house.records()
    messages = [json.loads(payload) for payload in subscriber.topics("/result/")]
    assert len(lines) == len(messages) == 470
    ids = {line["id"] for line in lines}
    assert len(ids) == 470
    assert {message["id"] for message in messages} == ids
    assert {line["status"] for line in lines} == {"ok"}
    assert {line["image"]["bytes"] for line in lines} <= sizes
    assert sum(1 for path in house.processed.rglob("*.jpg")) == 470


@pytest.mark.slow
def test_records_of_an_outage_reach_the_broker_when_it_is_back(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    with running(tmp_path, mqtt={"url": broker.url}) as house:
        try:
            for photo in PHOTOS:
                shutil.copy(photo, house.inbox)
            wait_until(lambda: house.finished() == len(PHOTOS))
            assert house.status()["mqtt"]["connected"] is False
            broker.start()
            # By PUBACKs: a subscriber may come later than the daemon does.
            wait_until(lambda: house.status()["mqtt"]["published"] == len(PHOTOS))
            broker.kill()
            shutil.copyfile(PHOTOS[0], house.inbox / "again.jpg")
            wait_until(lambda: house.finished() == len(PHOTOS) + 1)
            broker.start()
            wait_until(lambda: house.status()["mqtt"]["published"] == len(PHOTOS) + 1)
            wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)
            assert house.stop() == 0
        finally:
            broker.kill()


def test_subscribers_find_availability_info_state_and_stats_retained(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, running(tmp_path, mqtt={"url": broker.url}) as house:
        (house.inbox / "porch").mkdir()
        shutil.copy(PHOTOS[0], house.inbox / "porch" / "a.jpg")
        (house.inbox / "bad.jpg").write_bytes(b"no picture at all")
        with Subscriber(broker.port) as subscriber:
            wait_until(lambda: bool(subscriber.topics("/failure/default")), what="a failure")
            wait_until(lambda: bool(subscriber.topics("/state/porch")), what="a state")
        with Subscriber(broker.port) as late:
            for part in ("/availability", "/info", "/state/porch", "/stats"):
                wait_until(lambda part=part: bool(late.topics(part)))  # type: ignore[misc]
            retained = {topic: payload for topic, payload, _ in late.messages}
            assert retained["dropsight/test/availability"] == b"online"
            assert json.loads(retained["dropsight/test/state/porch"])["camera"] == "porch"
            assert json.loads(retained["dropsight/test/info"])["model"]["classes"] == 1000
            assert "counters" in json.loads(retained["dropsight/test/stats"])
            house.stop()
            wait_until(lambda: late.topics("/availability")[-1] == b"offline")


def test_the_last_will_says_offline_when_the_daemon_is_killed(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        running(tmp_path, mqtt={"url": broker.url}) as house,
        Subscriber(broker.port) as subscriber,
    ):
        wait_until(lambda: subscriber.topics("/availability") == [b"online"])
        house.kill()
        wait_until(lambda: subscriber.topics("/availability")[-1] == b"offline")


@pytest.mark.slow
def test_a_stop_in_the_middle_loses_nothing_and_the_next_start_goes_on(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        running(tmp_path, mqtt={"url": broker.url}) as house,
        Subscriber(broker.port) as subscriber,
    ):
        feeder = threading.Thread(target=copy_in, args=(house, PHOTOS))
        feeder.start()
        house.until(lambda: house.finished() >= 20)
        assert house.stop() == 0
        feeder.join()
        house.start()
        wait_until(lambda: len({json.loads(p)["id"] for p in subscriber.topics("/result/")}) == 200)
        assert house.stop() == 0
    lines = house.records()
    assert len(lines) == len({line["id"] for line in lines}) == 200


@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_exactly_one_line_an_image(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        copy_in(house, PHOTOS)
        house.until(lambda: house.finished() >= 20)
        house.kill()
        house.start()
        house.until(lambda: not house.waiting(), what="an empty inbox")
        wait_until(lambda: house.counters()["waiting"] == 0)
        assert house.stop() == 0
    lines = house.records()
    assert len(lines) == len({line["image_path"] for line in lines}) == 200
