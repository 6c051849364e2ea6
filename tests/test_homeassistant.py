"""Home Assistant finds the device, its cameras as they come, and loses them when it should."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import publish

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, running
from dropsight.sinks.homeassistant import discovery, discovery_topic
from dropsight.sinks.topics import Topics

TOPIC = "homeassistant/device/dropsight_test/config"
# Of Home Assistant's MQTT documentation: what each platform requires, and what it knows beside.
REQUIRED = {"sensor": {"state_topic"}, "button": {"command_topic"}, "switch": {"command_topic"}}
COMMON = {"platform", "unique_id", "name", "icon", "entity_category", "value_template"}
KNOWN = {
    "sensor": COMMON
    | {
        "state_topic",
        "json_attributes_topic",
        "json_attributes_template",
        "unit_of_measurement",
        "device_class",
        "state_class",
    },
    "button": COMMON | {"command_topic", "payload_press"},
    "switch": COMMON | {"command_topic", "state_topic", "payload_on", "payload_off", "state_on", "state_off"},
}


def messages(subscriber: Subscriber) -> list[bytes]:
    return [payload for topic, payload, _ in list(subscriber.messages) if topic == TOPIC]


def components(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload)["components"]
    return found


def test_every_component_has_what_its_platform_requires_and_nothing_unknown() -> None:
    payload = discovery("porch pi", Topics.of("dropsight", "porch pi"), ["front", "back yard"])
    message = json.loads(payload)
    assert set(message) == {"device", "origin", "availability", "qos", "components"}
    assert message["origin"]["name"]
    assert message["device"]["identifiers"] == ["dropsight_porch_pi"]
    ids = [component["unique_id"] for component in message["components"].values()]
    assert len(ids) == len(set(ids))
    for component in message["components"].values():
        platform = component["platform"]
        assert component.keys() >= REQUIRED[platform] | {"unique_id", "name"}
        assert component.keys() <= KNOWN[platform]
    assert message["components"]["back_yard_label"]["state_topic"] == "dropsight/porch_pi/state/back_yard"
    assert discovery_topic("porch pi") == "homeassistant/device/dropsight_porch_pi/config"


@pytest.mark.broker
def test_cameras_appear_as_they_come_and_the_birth_message_is_answered(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "#") as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        wait_until(lambda: len(messages(subscriber)) == 1)
        assert "front_label" not in components(messages(subscriber)[0])
        (house.inbox / "front").mkdir()
        shutil.copy(PHOTOS[0], house.inbox / "front" / "a.jpg")
        wait_until(lambda: "front_label" in components(messages(subscriber)[-1]))
        before = len(messages(subscriber))
        publish.single("homeassistant/status", "online", hostname="127.0.0.1", port=broker.port)
        wait_until(lambda: len(messages(subscriber)) == before + 1)
        switch = components(messages(subscriber)[-1])["pause"]
        publish.single(switch["command_topic"], switch["payload_on"], port=broker.port, hostname="127.0.0.1")
        wait_until(lambda: json.loads(subscriber.topics("/stats")[-1])["paused"] is True)


@pytest.mark.broker
def test_entities_vanish_when_discovery_is_turned_off(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        for wanted in (True, False):
            house = House(tmp_path, {"mqtt": {"url": broker.url, "home_assistant": wanted}})
            house.start()
            try:
                wait_until(lambda: bool(messages(subscriber)))
                wait_until(lambda wanted=wanted: bool(messages(subscriber)[-1]) is wanted)  # type: ignore[misc]
            finally:
                house.stop()
