"""What a user of Home Assistant sees, told by Home Assistant itself."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from paho.mqtt import publish

from brokers import Mosquitto, mosquitto, wait_until
from daemons import PHOTOS, House, running
from home_assistants import IS_THERE, MISSING, HomeAssistant, home_assistant

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.skipif(not IS_THERE, reason=MISSING),
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, broker: Mosquitto) -> Iterator[HomeAssistant]:
    with home_assistant(tmp_path, broker=broker.port) as found:
        yield found
        assert found.complaints() == []


def drop(house: House, camera: str, name: str, number: int = 0) -> None:
    (house.inbox / camera).mkdir(exist_ok=True)
    shutil.copy(PHOTOS[number], house.inbox / camera / name)


def ours(home: HomeAssistant, name: str = "test") -> Mapping[str, Any]:
    return {key: each for key, each in home.entities().items() if key.startswith(f"dropsight_{name}_")}


def image_path(home: HomeAssistant, unique_id: str) -> str | None:
    path: str | None = home.state(unique_id).get("attributes", {}).get("image_path")
    return path


def is_there(home: HomeAssistant, unique_id: str) -> bool:
    """Whether it shows a state that came from us."""
    return home.state(unique_id).get("state", "unknown") not in {"unknown", "unavailable"}


def rename(house: House, **changes: object) -> None:
    config = yaml.safe_load(house.config.read_text())
    house.config.write_text(yaml.safe_dump({**config, **changes}))


def test_a_camera_is_a_device_with_its_answers_and_the_daemon_the_one_behind_it(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant
) -> None:
    (tmp_path / "token").write_text("0" * 32)
    (tmp_path / "token").chmod(0o600)
    web = {"listen": "0.0.0.0:18080", "token_file": str(tmp_path / "token")}
    with running(tmp_path, mqtt={"url": broker.url, "thumbnails": True}, web=web) as house:
        drop(house, "front_door", "a.jpg")
        wait_until(lambda: is_there(home, "dropsight_test_front_door_label"))
        record = house.records()[0]
        wait_until(lambda: home.shows("dropsight_test_front_door_label", record["label"]))
        wait_until(lambda: home.shows("dropsight_test_front_door_problem", "off"))
        last = home.state("dropsight_test_front_door_last_image")
        assert last["state"] == f"{record['time'][:19]}+00:00"
        assert float(home.state("dropsight_test_front_door_confidence")["state"]) > 0
        wait_until(lambda: home.shows("dropsight_test_trouble", "off"))
        wait_until(lambda: home.shows("dropsight_test_fallback", "off"))
        wait_until(lambda: is_there(home, "dropsight_test_front_door_picture"))
        devices = home.devices()
        daemon, camera = devices["dropsight_test"], devices["dropsight_test/front_door"]
        assert camera["via_device_id"] == daemon["id"]
        assert (camera["name"], camera["area_id"]) == ("test front_door", "front_door")
        assert daemon["configuration_url"].endswith(":18080/")
        assert "127.0.0.1" not in daemon["configuration_url"]
        triggers = home.ask("device_automation/trigger/list", device_id=camera["id"])
        assert ("classified", "image") in {(each["type"], each.get("subtype")) for each in triggers}


def test_the_same_label_once_more_is_an_event(tmp_path: Path, broker: Mosquitto, home: HomeAssistant) -> None:
    event = "dropsight_test_front_image"
    with running(tmp_path, mqtt={"url": broker.url}) as house:
        drop(house, "front", "a.jpg")
        wait_until(lambda: image_path(home, event) == "front/a.jpg", what="the first of a new camera")
        seen = [home.state(event)]
        for name in ("b.jpg", "c.jpg"):
            drop(house, "front", name)
            wait_until(lambda name=name: image_path(home, event) == f"front/{name}")  # type: ignore[misc]
            seen.append(home.state(event))
        assert len({each["attributes"]["label"] for each in seen}) == 1
        assert len({each["state"] for each in seen}) == 3
        assert seen[0]["attributes"]["event_type"] == "classified"
        home.stop()
        home.start()
        wait_until(lambda: home.shows(event, seen[-1]["state"]), what="it is not told once more")


def test_its_switch_pauses_and_its_button_rescans(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant
) -> None:
    with running(tmp_path, mqtt={"url": broker.url}) as house:
        switch = "dropsight_test_pause"
        wait_until(lambda: home.shows(switch, "off"))
        home.call("switch", "turn_on", switch)
        wait_until(lambda: house.status()["paused"] is True)
        wait_until(lambda: home.shows(switch, "on"))
        home.call("switch", "turn_off", switch)
        wait_until(lambda: house.status()["paused"] is False)
        wait_until(lambda: home.shows(switch, "off"))
        home.call("button", "press", "dropsight_test_rescan")
        wait_until(lambda: home.state("dropsight_test_rescan")["state"] != "unknown")


def test_after_a_restart_of_either_side_all_is_as_it_was(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant
) -> None:
    label = "dropsight_test_front_label"
    with running(tmp_path, mqtt={"url": broker.url}) as house:
        drop(house, "front", "a.jpg")
        wait_until(lambda: is_there(home, label))
        before, known = home.state(label), set(ours(home))
        home.stop()
        home.start()
        wait_until(lambda: home.shows(label, before["state"]))
        assert house.stop() == 0
        wait_until(lambda: home.shows(label, "unavailable"))
        house.start()
        wait_until(lambda: home.shows(label, before["state"]))
        assert home.state(label)["entity_id"] == before["entity_id"]
        assert known <= set(ours(home))


@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_broker_forgets_is_there_again_pictures_included(
    tmp_path: Path,
    broker: Mosquitto,
    home: HomeAssistant,
    restarted: bool,  # noqa: FBT001
) -> None:
    picture = "dropsight_test_front_picture"
    with running(tmp_path, mqtt={"url": broker.url, "thumbnails": True}) as house:
        drop(house, "front", "a.jpg")
        wait_until(lambda: is_there(home, picture))
        broker.kill()
        wait_until(lambda: home.shows(picture, "unavailable"))
        home.stop()
        if restarted:
            assert house.stop() == 0
        broker.start()
        home.start()
        if restarted:
            house.start()
        wait_until(lambda: is_there(home, picture))
        assert "lost" in house.daemon_log()


@pytest.mark.parametrize("away", [False, True])
def test_of_a_renamed_device_nothing_is_left(
    tmp_path: Path,
    broker: Mosquitto,
    home: HomeAssistant,
    away: bool,  # noqa: FBT001
) -> None:
    with running(tmp_path, mqtt={"url": broker.url, "thumbnails": True}) as house:
        drop(house, "front", "a.jpg")
        wait_until(lambda: "dropsight_test_front_label" in ours(home))
        if away:
            home.stop()
        assert house.stop() == 0
        rename(house, device="porch")
        house.start()
        if away:
            wait_until(lambda: "retained messages of" in house.daemon_log())
            home.start()
        wait_until(lambda: "dropsight_porch_front_label" in ours(home, "porch"))
        wait_until(lambda: not ours(home))
        assert {name for name in home.devices() if name.startswith("dropsight_")} == {
            "dropsight_porch",
            "dropsight_porch/front",
        }
        assert not [name for name in home.states() if "test" in name]


@pytest.mark.parametrize("away", [False, True])
def test_of_a_camera_that_is_forgotten_nothing_is_left(
    tmp_path: Path,
    broker: Mosquitto,
    home: HomeAssistant,
    away: bool,  # noqa: FBT001
) -> None:
    # With a limit the daemon looks often whom it is to forget.
    watch = [{"path": "inbox", "silence": 1.0}]
    with running(tmp_path, mqtt={"url": broker.url}, watch=watch) as house:
        for camera in ("front", "back"):
            drop(house, camera, "a.jpg")
        wait_until(lambda: {"dropsight_test_front_label", "dropsight_test_back_label"} <= set(ours(home)))
        if away:
            home.stop()
        assert house.stop() == 0
        memory = tmp_path / "state" / "cameras.json"
        known = json.loads(memory.read_bytes())
        known["front"]["silent_seconds"] = 2 * 86_400.0
        memory.write_text(json.dumps(known))
        (house.inbox / "front").rmdir()
        house.start()
        if away:
            wait_until(lambda: "forgotten: camera front" in house.daemon_log())
            home.start()
        wait_until(lambda: "dropsight_test/front" not in home.devices())
        wait_until(lambda: not [name for name in ours(home) if "_front_" in name])
        assert "dropsight_test_back_label" in ours(home)
        assert "dropsight_test/back" in home.devices()


def test_entities_of_earlier_versions_keep_their_names_and_move_to_their_camera(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant
) -> None:
    topic = "homeassistant/device/dropsight_test/config"
    label = "dropsight_test_front_label"
    with running(tmp_path, mqtt={"url": broker.url, "home_assistant": False}) as house:
        drop(house, "front", "a.jpg")
        wait_until(lambda: house.finished() == 1)
        assert house.stop() == 0
        (tmp_path / "state" / "discovery.json").unlink()
        publish.single(topic, _in_one(), retain=True, hostname="127.0.0.1", port=broker.port)
        wait_until(lambda: label in ours(home))
        entity = ours(home)[label]["entity_id"]
        home.ask("config/entity_registry/update", entity_id=entity, name="What the porch sees")
        rename(house, mqtt={"url": broker.url})
        house.start()
        wait_until(lambda: "dropsight_test_front_image" in ours(home))
        camera = home.devices()["dropsight_test/front"]["id"]
        wait_until(lambda: ours(home)[label]["device_id"] == camera)
        wait_until(lambda: is_there(home, label))
        assert ours(home)[label]["entity_id"] == entity
        assert ours(home)[label]["name"] == "What the porch sees"
        wait_until(lambda: home.shows("dropsight_test_pause", "off"))


def test_below_another_prefix_it_is_found_and_answers(tmp_path: Path, broker: Mosquitto) -> None:
    prefix = "house/found"
    with home_assistant(tmp_path, broker=broker.port, prefix=prefix) as home:
        with running(tmp_path, mqtt={"url": broker.url, "discovery_prefix": prefix}):
            wait_until(lambda: home.shows("dropsight_test_pause", "off"))
        assert home.complaints() == []


def test_a_model_that_is_not_the_wanted_one_is_a_problem(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant
) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    model = {"path": str(tmp_path / "broken.tflite"), "fallback": ["builtin:efficientnet_lite0"]}
    with running(tmp_path, mqtt={"url": broker.url}, model=model):
        wait_until(lambda: home.shows("dropsight_test_fallback", "on"))
        attributes = home.state("dropsight_test_fallback")["attributes"]
        assert "broken.tflite" in str(attributes["instead_of"])


def _in_one() -> bytes:
    """All of a device and its camera in one message, as versions before told it."""
    root = "dropsight/test"
    components = {
        "front_label": {
            "platform": "sensor",
            "name": "front",
            "state_topic": f"{root}/state/front",
            "value_template": "{{ value_json.label[:255] }}",
        },
        "front_problem": {
            "platform": "binary_sensor",
            "name": "front problem",
            "state_topic": f"{root}/problem/front",
            "value_template": "{{ 'ON' if value_json.problems else 'OFF' }}",
        },
        "pause": {
            "platform": "switch",
            "name": "Pause",
            "command_topic": f"{root}/command",
            "state_topic": f"{root}/stats",
            "value_template": "{{ 'ON' if value_json.paused else 'OFF' }}",
        },
    }
    message = {
        "device": {"identifiers": ["dropsight_test"], "name": "dropsight test"},
        "origin": {"name": "dropsight"},
        "components": {
            name: {**each, "unique_id": f"dropsight_test_{name}"} for name, each in components.items()
        },
    }
    return json.dumps(message).encode()
