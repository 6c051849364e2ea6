"""What a user of Home Assistant sees, told by Home Assistant itself."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from paho.mqtt import publish

from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, running
from home_assistants import IS_THERE, MISSING, HomeAssistant, home_assistant
from processes import none_left

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.skipif(not IS_THERE, reason=MISSING),
]


_numbers = count()
ACTING = "acting"
AUTOMATIONS = f"""
automation:
  - id: told
    alias: told
    use_blueprint:
      path: dropsight/event.yaml
      input:
        event: event.{ACTING}_front_event
        name: any_thing
        then:
          - action: mqtt.publish
            data: {{topic: acted/upon, payload: "{{{{ what }}}} {{{{ camera }}}}"}}
"""


@pytest.fixture(autouse=True, scope="module")
def _no_process_is_left() -> Iterator[None]:
    """In place of what every test has: what is started anew here serves the tests that follow, too."""
    with none_left():
        yield


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture(scope="module")
def only_home(tmp_path_factory: pytest.TempPathFactory, broker: Mosquitto) -> Iterator[HomeAssistant]:
    with home_assistant(
        tmp_path_factory.mktemp("home"), broker=broker.port, automations=AUTOMATIONS
    ) as found:
        yield found


@pytest.fixture
def home(only_home: HomeAssistant) -> Iterator[HomeAssistant]:
    before = len(only_home.complaints())
    yield only_home
    assert only_home.complaints()[before:] == []


@pytest.fixture
def device() -> str:
    """A name of its own for each test: they share a home, which knows their devices ever after."""
    return f"number{next(_numbers)}x"


def drop(house: House, camera: str, name: str, number: int = 0) -> None:
    (house.inbox / camera).mkdir(exist_ok=True)
    shutil.copy(PHOTOS[number], house.inbox / camera / name)


def ours(home: HomeAssistant, name: str) -> Mapping[str, Any]:
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
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant, device: str
) -> None:
    (tmp_path / "token").write_text("0" * 32)
    (tmp_path / "token").chmod(0o600)
    web = {"listen": "0.0.0.0:18080", "token_file": str(tmp_path / "token")}
    with running(tmp_path, device=device, mqtt={"url": broker.url, "thumbnails": True}, web=web) as house:
        drop(house, "front_door", "a.jpg")
        wait_until(lambda: is_there(home, f"dropsight_{device}_front_door_label"))
        record = house.records()[0]
        wait_until(
            lambda: home.shows(f"dropsight_{device}_front_door_label", record.get("group", record["label"]))
        )
        wait_until(lambda: home.shows(f"dropsight_{device}_front_door_problem", "off"))
        last = home.state(f"dropsight_{device}_front_door_last_image")
        assert last["state"] == f"{record['time'][:19]}+00:00"
        assert float(home.state(f"dropsight_{device}_front_door_confidence")["state"]) > 0
        wait_until(lambda: home.shows(f"dropsight_{device}_trouble", "off"))
        wait_until(lambda: home.shows(f"dropsight_{device}_fallback", "off"))
        wait_until(lambda: is_there(home, f"dropsight_{device}_front_door_picture"))
        devices = home.devices()
        daemon, camera = devices[f"dropsight_{device}"], devices[f"dropsight_{device}/front_door"]
        assert camera["via_device_id"] == daemon["id"]
        assert (camera["name"], camera["area_id"]) == (f"{device} front_door", "front_door")
        assert daemon["configuration_url"].endswith(":18080/")
        assert "127.0.0.1" not in daemon["configuration_url"]
        triggers = home.ask("device_automation/trigger/list", device_id=camera["id"])
        assert ("classified", "image") in {(each["type"], each.get("subtype")) for each in triggers}


def test_an_event_is_a_sensor_of_its_own_and_what_an_automation_by_the_blueprint_acts_on(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant
) -> None:
    rule = {"name": "any_thing", "labels": ["*"], "confidence": 0.01, "confirm": "1 of 1"}
    settings = {"mqtt": {"url": broker.url, "thumbnails": True}, "events": [{**rule, "end_after_seconds": 3}]}
    active, event = (f"dropsight_{ACTING}_front_{name}" for name in ("event_any_thing", "event"))
    with running(tmp_path, device=ACTING, **settings) as house, Subscriber(broker.port, "acted/#") as acted:
        drop(house, "front", "a.jpg")
        wait_until(lambda: home.shows(active, "off"), what="the first is over")
        wait_until(lambda: is_there(home, f"dropsight_{ACTING}_front_event_picture"))
        wait_until(lambda: bool(home.state(event)))
        before, acts = home.state(event)["state"], len(acted.messages)
        drop(house, "front", "b.jpg")
        wait_until(lambda: home.state(event)["state"] != before)
        wait_until(lambda: len(acted.messages) > acts)
        assert acted.messages[-1][1] == b"any_thing front"
        assert home.state(event)["attributes"]["event_type"] in {"any_thing", "any_thing_end"}
        seen = home.state(f"dropsight_{ACTING}_front_seen_any_thing")
        assert seen["attributes"]["device_class"] == "timestamp"


def test_the_same_label_once_more_is_an_event(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant, device: str
) -> None:
    event = f"dropsight_{device}_front_image"
    with running(tmp_path, device=device, mqtt={"url": broker.url}) as house:
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


def test_its_switch_pauses_and_its_button_rescans(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant, device: str
) -> None:
    with running(tmp_path, device=device, mqtt={"url": broker.url}) as house:
        switch = f"dropsight_{device}_pause"
        wait_until(lambda: home.shows(switch, "off"))
        home.call("switch", "turn_on", switch)
        wait_until(lambda: house.status()["paused"] is True)
        wait_until(lambda: home.shows(switch, "on"))
        home.call("switch", "turn_off", switch)
        wait_until(lambda: house.status()["paused"] is False)
        wait_until(lambda: home.shows(switch, "off"))
        home.call("button", "press", f"dropsight_{device}_rescan")
        wait_until(lambda: home.state(f"dropsight_{device}_rescan")["state"] != "unknown")


def test_after_a_restart_of_either_side_all_is_as_it_was(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant, device: str
) -> None:
    label, event = f"dropsight_{device}_front_label", f"dropsight_{device}_front_image"
    with running(tmp_path, device=device, mqtt={"url": broker.url}) as house:
        drop(house, "front", "a.jpg")
        wait_until(lambda: is_there(home, label))
        wait_until(lambda: is_there(home, event))
        before, told, known = home.state(label), home.state(event), set(ours(home, device))
        home.stop()
        home.start()
        wait_until(lambda: home.shows(label, before["state"]))
        wait_until(lambda: home.shows(event, told["state"]), what="it is not told once more")
        assert house.stop() == 0
        wait_until(lambda: home.shows(label, "unavailable"))
        house.start()
        wait_until(lambda: home.shows(label, before["state"]))
        assert home.state(label)["entity_id"] == before["entity_id"]
        assert known <= set(ours(home, device))


def test_what_a_broker_forgets_is_there_again_pictures_included(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant, device: str
) -> None:
    """By a daemon that runs on, and by one that is started anew as well."""
    running_on, begun_anew = f"{device}on", f"{device}anew"

    def shown() -> dict[str, str | None]:
        each = {name: home.state(f"dropsight_{name}_front_picture") for name in (running_on, begun_anew)}
        return {name: found.get("state") for name, found in each.items()}

    def all_there() -> bool:
        return not {None, "unknown", "unavailable"} & set(shown().values())

    with ExitStack() as daemons:
        houses = {}
        for name in shown():
            mqtt = {"url": broker.url, "thumbnails": True}
            (tmp_path / name).mkdir()
            houses[name] = daemons.enter_context(running(tmp_path / name, device=name, mqtt=mqtt))
            drop(houses[name], "front", "a.jpg")
        wait_until(all_there)
        broker.kill()
        wait_until(lambda: set(shown().values()) == {"unavailable"})
        home.stop()
        assert houses[begun_anew].stop() == 0
        broker.start()
        home.start()
        houses[begun_anew].start()
        wait_until(all_there)
        for house in houses.values():
            assert "lost" in house.daemon_log()


@pytest.mark.parametrize("away", [False, True])
def test_of_a_renamed_device_nothing_is_left(
    tmp_path: Path,
    broker: Mosquitto,
    home: HomeAssistant,
    device: str,
    away: bool,  # noqa: FBT001
) -> None:
    porch = device.replace("number", "porch")
    with running(tmp_path, device=device, mqtt={"url": broker.url, "thumbnails": True}) as house:
        drop(house, "front", "a.jpg")
        wait_until(lambda: f"dropsight_{device}_front_label" in ours(home, device))
        if away:
            home.stop()
        assert house.stop() == 0
        rename(house, device=porch)
        house.start()
        if away:
            wait_until(lambda: "retained messages of" in house.daemon_log())
            home.start()
        wait_until(lambda: f"dropsight_{porch}_front_label" in ours(home, porch))
        wait_until(lambda: not ours(home, device))
        assert f"dropsight_{device}" not in home.devices()
        assert f"dropsight_{device}/front" not in home.devices()
        assert {f"dropsight_{porch}", f"dropsight_{porch}/front"} <= set(home.devices())
        assert not [name for name in home.states() if device in name]


@pytest.mark.parametrize("away", [False, True])
def test_of_a_camera_that_is_forgotten_nothing_is_left(
    tmp_path: Path,
    broker: Mosquitto,
    home: HomeAssistant,
    device: str,
    away: bool,  # noqa: FBT001
) -> None:
    # With a limit the daemon looks often whom it is to forget.
    watch = [{"path": "inbox", "silence": 1.0}]
    with running(tmp_path, device=device, mqtt={"url": broker.url}, watch=watch) as house:
        for camera in ("front", "back"):
            drop(house, camera, "a.jpg")
        both = {f"dropsight_{device}_{camera}_label" for camera in ("front", "back")}
        wait_until(lambda: both <= set(ours(home, device)))
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
            wait_until(lambda: "no longer exists: camera front" in house.daemon_log())
            home.start()
        wait_until(lambda: f"dropsight_{device}/front" not in home.devices())
        wait_until(lambda: not [name for name in ours(home, device) if "_front_" in name])
        assert f"dropsight_{device}_back_label" in ours(home, device)
        assert f"dropsight_{device}/back" in home.devices()


def test_entities_of_earlier_versions_keep_their_names_and_move_to_their_camera(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant, device: str
) -> None:
    topic = f"homeassistant/device/dropsight_{device}/config"
    label = f"dropsight_{device}_front_label"
    with running(tmp_path, device=device, mqtt={"url": broker.url, "home_assistant": False}) as house:
        drop(house, "front", "a.jpg")
        wait_until(lambda: house.finished() == 1)
        assert house.stop() == 0
        (tmp_path / "state" / "discovery.json").unlink()
        publish.single(topic, _in_one(device), retain=True, hostname="127.0.0.1", port=broker.port)
        wait_until(lambda: label in ours(home, device))
        entity = ours(home, device)[label]["entity_id"]
        home.ask("config/entity_registry/update", entity_id=entity, name="What the porch sees")
        rename(house, mqtt={"url": broker.url})
        house.start()
        wait_until(lambda: f"dropsight_{device}_front_image" in ours(home, device))
        camera = home.devices()[f"dropsight_{device}/front"]["id"]
        wait_until(lambda: ours(home, device)[label]["device_id"] == camera)
        wait_until(lambda: is_there(home, label))
        assert ours(home, device)[label]["entity_id"] == entity
        assert ours(home, device)[label]["name"] == "What the porch sees"
        wait_until(lambda: home.shows(f"dropsight_{device}_pause", "off"))


def test_below_another_prefix_it_is_found_and_answers(tmp_path: Path, broker: Mosquitto, device: str) -> None:
    prefix = "house/found"
    with home_assistant(tmp_path, broker=broker.port, prefix=prefix) as home:
        with running(tmp_path, device=device, mqtt={"url": broker.url, "discovery_prefix": prefix}):
            wait_until(lambda: home.shows(f"dropsight_{device}_pause", "off"))
        assert home.complaints() == []


def test_a_model_that_is_not_the_wanted_one_is_a_problem(
    tmp_path: Path, broker: Mosquitto, home: HomeAssistant, device: str
) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    model = {"path": str(tmp_path / "broken.tflite"), "fallback": ["builtin:efficientnet_lite0"]}
    with running(tmp_path, device=device, mqtt={"url": broker.url}, model=model):
        wait_until(lambda: home.shows(f"dropsight_{device}_fallback", "on"))
        attributes = home.state(f"dropsight_{device}_fallback")["attributes"]
        assert "broken.tflite" in str(attributes["instead_of"])


def _in_one(device: str) -> bytes:
    """All of a device and its camera in one message, as versions before told it."""
    root = f"dropsight/{device}"
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
        "device": {"identifiers": [f"dropsight_{device}"], "name": f"dropsight {device}"},
        "origin": {"name": "dropsight"},
        "components": {
            name: {**each, "unique_id": f"dropsight_{device}_{name}"} for name, each in components.items()
        },
    }
    return json.dumps(message).encode()
