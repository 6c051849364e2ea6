"""A camera's problem is told of by MQTT, status and log, and outlives broker, daemon and kill."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from dropsight.cameras.watch import IN_A_ROW, LONGEST_LIST


def drop(house: House, camera: str, name: str, data: bytes) -> None:
    """As a camera does: whole, and counted until it is done."""
    folder = house.inbox / camera
    folder.mkdir(exist_ok=True)
    before = house.finished()
    (house.root / "part").write_bytes(data)
    (house.root / "part").rename(folder / name)
    wait_until(lambda: house.finished() == before + 1)


def black_jpeg(seed: int) -> bytes:
    noise = np.random.default_rng(seed).normal(6, 2, (480, 640, 3))
    return cv2.imencode(".jpg", np.clip(noise, 0, 255).astype(np.uint8))[1].tobytes()


def problems(subscriber: Subscriber, camera: str) -> list[list[str]]:
    """The kinds of problems in each message so far."""
    return [sorted(json.loads(each)["problems"]) for each in subscriber.topics(f"/problem/{camera}")]


@pytest.mark.slow
@pytest.mark.broker
def test_problems_are_retained_on_mqtt_and_stand_in_status_stats_and_log_once(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        drop(house, "front", "good.jpg", PHOTOS[0].read_bytes())
        wait_until(lambda: problems(subscriber, "front") == [[]])
        for number in range(IN_A_ROW + 2):
            drop(house, "front", f"{number}.jpg", black_jpeg(number))
        wait_until(lambda: problems(subscriber, "front") == [[], ["black"]])
        message = json.loads(subscriber.topics("/problem/front")[-1])
        assert message["camera"] == "front"
        assert message["problems"]["black"].keys() == {"text", "since"}
        expected = {"front": {"black": message["problems"]["black"]["text"]}}
        assert house.status()["stats"]["problems"] == expected
        wait_until(lambda: json.loads(subscriber.topics("/stats")[-1])["problems"] == expected)
        shown = dropsight("status", "-c", str(house.config)).stdout
        assert "problem    front is black: the picture is black" in shown
        assert house.daemon_log().count("camera front is black") == 1
        with Subscriber(broker.port) as late:
            wait_until(lambda: problems(late, "front") == [["black"]])
        drop(house, "front", "better.jpg", PHOTOS[1].read_bytes())
        wait_until(lambda: problems(subscriber, "front")[-1] == [])
        assert house.daemon_log().count("camera front is no longer black") == 1


@pytest.mark.slow
@pytest.mark.broker
def test_a_silent_camera_is_told_of_again_by_a_broker_and_a_daemon_that_were_away(tmp_path: Path) -> None:
    watch = [{"path": "inbox", "silence": 1.0}]
    with mosquitto(tmp_path) as broker:
        settings = {"mqtt": {"url": broker.url}, "watch": watch}
        with Subscriber(broker.port) as subscriber, running(tmp_path, **settings) as house:
            drop(house, "front", "a.jpg", PHOTOS[0].read_bytes())
            wait_until(lambda: problems(subscriber, "front")[-1:] == [["silent"]])
            assert house.stop() == 0
        broker.kill()
        broker.start()  # without persistence: what was retained is gone
        with Subscriber(broker.port) as subscriber, running(tmp_path, **settings) as house:
            wait_until(lambda: problems(subscriber, "front") == [["silent"]])
            drop(house, "front", "b.jpg", PHOTOS[1].read_bytes())
            wait_until(lambda: [] in problems(subscriber, "front"))


@pytest.mark.slow
def test_a_kill_forgets_no_problem(tmp_path: Path) -> None:
    memory = tmp_path / "state" / "cameras.json"
    watch = [{"path": "inbox", "silence": 1.0}]
    with running(tmp_path, watch=watch) as house:
        drop(house, "front", "a.jpg", PHOTOS[0].read_bytes())
        wait_until(lambda: memory.exists() and b'"silent":' in memory.read_bytes())
        house.kill()
    with running(tmp_path, watch=watch) as house:
        assert list(house.status()["stats"]["problems"]["front"]) == ["silent"]


@pytest.mark.slow
def test_a_paused_daemon_calls_no_camera_silent(tmp_path: Path) -> None:
    with running(tmp_path, watch=[{"path": "inbox", "silence": 1.0}]) as house:
        drop(house, "front", "a.jpg", PHOTOS[0].read_bytes())
        house.ask("pause")
        shutil.copyfile(PHOTOS[1], house.inbox / "back.jpg")
        wait_until(lambda: house.counters()["queued"] == 1)
        looked = house.status()["stats"]["uptime_seconds"] + 2.5
        wait_until(lambda: house.status()["stats"]["uptime_seconds"] > looked)
        assert house.status()["stats"]["problems"] == {}


@pytest.mark.slow
def test_memory_that_cannot_be_read_is_one_line_and_a_new_beginning(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "cameras.json").write_bytes(b'{"front": {"rhythm": ')
    with running(tmp_path) as house:
        drop(house, "front", "a.jpg", PHOTOS[0].read_bytes())
        assert house.stop() == 0
    assert house.daemon_log().count("the cameras are learned from scratch") == 1
    assert "front" in json.loads((tmp_path / "state" / "cameras.json").read_bytes())


@pytest.mark.slow
@pytest.mark.broker
def test_a_camera_whose_folder_was_taken_away_is_forgotten_everywhere(tmp_path: Path) -> None:
    topic = "homeassistant/device/dropsight_test/{}/config"
    with mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        settings = {"mqtt": {"url": broker.url}, "watch": [{"path": "inbox", "silence": 1.0}]}
        with running(tmp_path, **settings) as house:
            for camera in ("front", "back"):
                drop(house, camera, "a.jpg", PHOTOS[0].read_bytes())
            assert house.stop() == 0
        memory = tmp_path / "state" / "cameras.json"
        known = json.loads(memory.read_bytes())
        known["front"]["silent_seconds"] = 2 * 86_400.0
        memory.write_text(json.dumps(known))
        (tmp_path / "inbox" / "front").rmdir()
        with running(tmp_path, **settings) as house:
            wait_until(lambda: subscriber.topics("/state/front")[-1] == b"")
            wait_until(lambda: subscriber.topics("/problem/front")[-1] == b"")
            wait_until(lambda: subscriber.topics(topic.format("front"))[-1] == b"")
            assert b'"back_label"' in subscriber.topics(topic.format("back"))[-1]
            assert house.stop() == 0
        assert list(json.loads(memory.read_bytes())) == ["back"]


@pytest.mark.slow
@pytest.mark.broker
def test_among_very_many_cameras_those_that_are_there_stay_and_all_others_go_in_one_line(
    tmp_path: Path,
) -> None:
    living = [f"living{number}" for number in range(LONGEST_LIST + 6)]
    dates = [f"date{number}" for number in range(20)]
    for name in living:
        (tmp_path / "inbox" / name).mkdir(parents=True)
    (tmp_path / "state").mkdir()
    known = {"folder": os.fspath(tmp_path / "inbox"), "silent_seconds": 60.0}
    (tmp_path / "state" / "cameras.json").write_text(json.dumps(dict.fromkeys([*living, *dates], known)))
    with mosquitto(tmp_path) as broker, Subscriber(broker.port, "dropsight/#") as subscriber:
        mqtt = {"url": broker.url, "home_assistant": False}
        with running(tmp_path, mqtt=mqtt, watch=[{"path": "inbox", "silence": 3_600.0}]) as house:
            drop(house, "newcomer", "a.jpg", PHOTOS[0].read_bytes())
            wait_until(lambda: bool(subscriber.topics("/state/newcomer")))
            wait_until(lambda: "no longer exists" in house.daemon_log())
            wait_until(lambda: len(subscriber.topics("/problem/date")) >= len(dates))
            drop(house, "newcomer", "b.jpg", PHOTOS[1].read_bytes())
            wait_until(lambda: len(subscriber.topics("/state/newcomer")) == 2)
            assert house.daemon_log().count("no longer exists") == 1
            assert b"" not in subscriber.topics("/problem/living") + subscriber.topics("/state/newcomer")
            assert house.stop() == 0
    names = json.loads((tmp_path / "state" / "cameras.json").read_bytes()).keys()
    assert names == {*living, "newcomer"}


@pytest.mark.slow
def test_a_share_that_is_not_mounted_makes_no_camera_forgotten(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    memory = {"front": {"folder": os.fspath(tmp_path / "inbox"), "silent_seconds": 9e5}}
    (tmp_path / "state" / "cameras.json").write_text(json.dumps(memory))
    with running(tmp_path, watch=[{"path": "inbox", "silence": 1.0}]) as house:
        wait_until(lambda: "silent" in house.status()["stats"]["problems"].get("front", {}))
        assert house.stop() == 0
    assert "front" in json.loads((tmp_path / "state" / "cameras.json").read_bytes())
