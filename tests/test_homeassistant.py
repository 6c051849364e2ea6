"""Home Assistant finds the device, its cameras as they come, and loses them when it should."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import pytest
from paho.mqtt import publish

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from discovery import faults
from dropsight.config import Web
from dropsight.service.dashboard import address_for_others
from dropsight.sinks.mqtt.discovery import MOST_CAMERAS, Discovery, DiscoveryMessage
from dropsight.sinks.mqtt.homeassistant import Entities, farewell
from dropsight.sinks.mqtt.topics import CameraTopicParts, Topics

TOPIC = "homeassistant/device/dropsight_test/config"


def messages(subscriber: Subscriber, topic: str = TOPIC) -> list[bytes]:
    return [payload for each, payload, _ in list(subscriber.messages) if each == topic]


def components(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload)["components"]
    return found


def of_camera(camera: str) -> str:
    return f"homeassistant/device/dropsight_test/{camera}/config"


def told(subscriber: Subscriber) -> dict[str, Any]:
    """All components that stand at the moment, of the device and its cameras."""
    newest = {topic: payload for topic, payload, _ in list(subscriber.messages) if topic.endswith("/config")}
    found: dict[str, Any] = {}
    for payload in filter(None, newest.values()):
        found |= components(payload)
    return found


def entities(*, thumbnails: bool = False) -> Entities:
    return Entities("porch pi", Topics.of("dropsight", "porch pi"), thumbnails=thumbnails)


def drop(house: House, camera: str, name: str, number: int = 0) -> None:
    (house.inbox / camera).mkdir(exist_ok=True)
    shutil.copy(PHOTOS[number], house.inbox / camera / name)


@pytest.mark.parametrize("thumbnails", [True, False])
@pytest.mark.parametrize("cameras", [[], ["front", "back yard"], ["a b", "a_b", "a.b", "Küche"]])
def test_the_payload_is_what_home_assistant_documents(cameras: list[str], thumbnails: bool) -> None:  # noqa: FBT001
    known = entities(thumbnails=thumbnails)
    assert list(faults(known.topic, json.loads(known.of_device(taking_back=cameras)))) == []
    topics = {known.topic_of(camera) for camera in cameras}
    assert len(topics) == len(cameras)
    for camera in cameras:
        message = json.loads(known.of_camera(camera))
        assert list(faults(known.topic_of(camera), message)) == []
        assert message["device"]["via_device"] in json.loads(known.of_device())["device"]["identifiers"]


def test_each_camera_is_a_device_in_a_place_of_its_own() -> None:
    known = entities()
    devices = [json.loads(known.of_camera(camera))["device"] for camera in ("front_door", "a b", "default")]
    assert [device["name"] for device in devices] == [
        "porch pi front_door",
        "porch pi a b",
        "porch pi default",
    ]
    assert [device.get("suggested_area") for device in devices] == ["Front door", "A b", None]
    identifiers = {device["identifiers"][0] for device in devices}
    assert identifiers == {f"dropsight_porch_pi/{part}" for part in ("front_door", "a_b", "default")}


def test_a_camera_has_its_sensors_events_a_problem_and_a_picture() -> None:
    found = components(entities(thumbnails=True).of_camera("back yard"))
    platforms = {name: each["platform"] for name, each in found.items()}
    assert platforms == {
        "back_yard_label": "sensor",
        "back_yard_confidence": "sensor",
        "back_yard_last_image": "sensor",
        "back_yard_image": "event",
        "back_yard_trigger": "device_automation",
        "back_yard_problem": "binary_sensor",
        "back_yard_picture": "image",
    }
    assert found["back_yard_label"]["state_topic"] == "dropsight/porch_pi/state/back_yard"
    assert found["back_yard_problem"]["device_class"] == "problem"


@pytest.mark.parametrize("first", ["a b", "a_b"])
def test_cameras_that_would_share_a_topic_are_told_apart_whoever_comes_first(first: str) -> None:
    topics = Topics.of("dropsight", "x")
    for camera in (first, "a b", "a_b", "a:b"):
        topics.parts.of(camera)
    assert topics.state("a_b") == "dropsight/x/state/a_b"
    parts = {camera: topics.parts.of(camera) for camera in ("a b", "a_b", "a:b")}
    assert len(set(parts.values())) == 3
    assert parts["a b"] == "a_b_" + parts["a b"][-8:]
    known = Entities("x", topics, thumbnails=True)
    labels = [components(known.of_camera(camera)) for camera in parts]
    assert len({name for found in labels for name in found}) == 3 * 7


def test_any_number_of_cameras_of_one_topic_are_few_lines_and_leave_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Names without a Latin letter share one, and whoever uploads gives as many as he likes."""
    parts = CameraTopicParts()
    cameras = [chr(0x4E00 + number) for number in range(1_000)]
    assert len({parts.of(camera) for camera in cameras}) == len(cameras)
    assert len(caplog.text) < 2_000
    for camera in cameras:
        parts.forget(camera)
    assert parts == CameraTopicParts()


def discovery(state: Path, *, wanted: bool = True, told_before: bool = False) -> Discovery:
    return Discovery(entities(), state, wanted=wanted, told_before=told_before)


FRONT = "homeassistant/device/dropsight_porch_pi/front/config"


def test_a_camera_that_vanishes_is_taken_back_also_after_a_restart(tmp_path: Path) -> None:
    list(discovery(tmp_path).messages(["front", "back"], again=True))
    later = discovery(tmp_path)
    assert DiscoveryMessage(FRONT, b"") in list(later.messages(["back"], again=True))
    assert not any(message.topic == FRONT for message in later.messages(["back"], again=True))


def test_what_an_interrupted_life_did_not_take_back_the_next_does(tmp_path: Path) -> None:
    list(discovery(tmp_path).messages(["front"], again=True))
    assert next(discovery(tmp_path).messages([], again=True)) == DiscoveryMessage(
        FRONT, b""
    )  # and no further
    assert DiscoveryMessage(FRONT, b"") in list(discovery(tmp_path).messages([], again=True))


def test_what_went_while_home_assistant_was_away_it_is_told_to_drop_when_it_comes(tmp_path: Path) -> None:
    """It removes only what it was told of since its start: so it is told once more, and then to drop it."""
    list(discovery(tmp_path).messages(["front", "back"], again=True))
    later = discovery(tmp_path)
    list(later.messages(["back"], again=True))
    assert not later.has_more
    later = discovery(tmp_path)
    later.on_birth()
    told = [message for message in later.messages(["back"], again=True) if message.topic == FRONT]
    assert [message.retain for message in told] == [False]
    assert list(faults(FRONT, json.loads(told[0].payload))) == []
    ids = {each["unique_id"] for each in components(told[0].payload).values()}
    known = components(entities(thumbnails=True).of_camera("front")).values()
    assert ids == {each["unique_id"] for each in known if "unique_id" in each}
    assert later.has_more
    assert list(later.follow_up()) == [DiscoveryMessage(FRONT, b"")]
    last = discovery(tmp_path)
    last.on_birth()
    assert not any(message.topic == FRONT for message in last.messages(["back"], again=True))


def test_the_farewell_of_a_device_names_all_of_its_entities() -> None:
    topic = entities().topic
    ids = {each["unique_id"] for each in components(farewell(topic)).values()}
    assert list(faults(topic, json.loads(farewell(topic)))) == []
    assert ids == {each["unique_id"] for each in components(entities().of_device()).values()}


def test_a_camera_that_comes_back_is_not_dropped(tmp_path: Path) -> None:
    known = discovery(tmp_path)
    for cameras in (["front"], [], ["front"]):
        list(known.messages(cameras, again=True))
    known.on_birth()
    told = [message for message in known.messages(["front"], again=True) if message.topic == FRONT]
    assert [message.retain for message in told] == [True]
    assert not known.has_more


def test_what_stands_below_another_prefix_is_taken_back(tmp_path: Path) -> None:
    list(discovery(tmp_path).messages(["front"], again=True))
    other = Entities("porch pi", Topics.of("dropsight", "porch pi", "ha/found"), thumbnails=False)
    moved = Discovery(other, tmp_path, wanted=True, told_before=True)
    told = {topic: payload for topic, payload, _ in moved.messages(["front"], again=True)}
    assert [topic for topic, payload in told.items() if not payload] == [
        "homeassistant/device/dropsight_porch_pi/config",
        FRONT,
    ]
    assert {topic for topic, payload in told.items() if payload} == {
        "ha/found/device/dropsight_porch_pi/config",
        "ha/found/device/dropsight_porch_pi/front/config",
    }


def test_entities_that_an_earlier_version_told_of_in_one_message_move_to_their_own(tmp_path: Path) -> None:
    known = discovery(tmp_path, told_before=True)
    moving = list(known.messages(["front"], again=True))
    assert moving == [
        DiscoveryMessage(
            "homeassistant/device/dropsight_porch_pi/config", b'{"migrate_discovery":true}', retain=False
        )
    ]
    assert known.has_more
    (first, payload, _), *others = known.follow_up()
    assert first == others[0][0] == "homeassistant/device/dropsight_porch_pi/config"
    assert components(payload)["front_label"] == {"platform": "sensor"}
    assert "front_label" not in components(others[0][1])
    of_front = next(payload for topic, payload, _ in others if topic == FRONT)
    assert components(of_front)["front_label"]["unique_id"] == "dropsight_porch_pi_front_label"
    assert not known.has_more


def test_cameras_that_were_parts_of_the_one_device_become_devices(tmp_path: Path) -> None:
    (tmp_path / "discovery.json").write_text(json.dumps([entities().topic, FRONT]))
    known = discovery(tmp_path)
    assert [message.topic for message in known.messages(["front"], again=True)] == [FRONT]
    assert [message.topic for message in known.follow_up()] == [entities().topic, FRONT]


def test_pictures_of_an_earlier_life_are_taken_back() -> None:
    assert components(entities().of_camera("front"))["front_picture"] == {"platform": "image"}


def test_no_message_grows_with_the_cameras_and_of_thousands_not_all_are_told(tmp_path: Path) -> None:
    cameras = [f"camera {number:05}" for number in range(5_000)]
    found = [message.payload for message in discovery(tmp_path).messages(cameras, again=True)]
    assert max(map(len, found)) < 5_000
    assert len(found) == MOST_CAMERAS + 1


@pytest.mark.broker
def test_every_template_makes_of_a_real_message_what_is_shown(tmp_path: Path) -> None:
    """Home Assistant's templates are Jinja's: rendered here from what the daemon really publishes."""
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "#") as subscriber,
        running(tmp_path, mqtt={"url": broker.url}, stats={"interval_seconds": 0.2}) as house,
    ):
        drop(house, "front", "a.jpg", number=11)
        wait_until(lambda: "front_label" in told(subscriber))
        wait_until(lambda: bool(subscriber.topics("/state/front") and subscriber.topics("/problem/front")))
        wait_until(lambda: json.loads(subscriber.topics("/stats")[-1])["counters"]["done"] == 1)
        record = house.records()[0]
        shown, attributes = {}, {}
        for name, component in told(subscriber).items():
            if "state_topic" in component:
                payload = messages(subscriber, component["state_topic"].removesuffix("/#"))[-1]
                shown[name] = rendered(component["value_template"], payload)
            if "json_attributes_topic" in component:
                payload = messages(subscriber, component["json_attributes_topic"])[-1]
                attributes[name] = json.loads(rendered(component["json_attributes_template"], payload))
    assert (shown["front_label"], record["label"]) == ("bear", "ice bear")
    assert float(shown["front_confidence"]) == pytest.approx(record["group_confidence"] * 100, abs=0.06)
    assert attributes["front_label"]["labels"] == ["ice bear"]
    assert shown["front_problem"] == "OFF"
    assert shown["pause"] == "OFF"
    assert shown["processed"] == "1"
    assert float(shown["latency_p95"]) > 0
    assert attributes["front_label"]["top_5"] == record["predictions"]
    assert attributes["front_problem"] == {"problems": {}}
    assert shown["front_last_image"] == record["time"]
    template, payload = (
        told(subscriber)["front_image"]["value_template"],
        subscriber.topics("/result/front")[-1],
    )
    assert rendered(template, payload, id=record["id"]) == "", "told again it is no event"
    event = json.loads(shown["front_image"])
    assert (event["event_type"], event["label"], event["id"]) == ("classified", record["label"], record["id"])
    assert {shown[name] for name in ("trouble", "disk", "log", "fallback")} == {"OFF"}
    assert attributes["fallback"] == {"model": record["model"]["name"], "instead_of": []}


@pytest.mark.parametrize(
    ("troubles", "on"),
    [
        ({}, set()),
        ({"mqtt": "x"}, {"trouble"}),
        ({"journal": "x"}, {"trouble", "disk"}),
        ({"log": "x", "filing": "y"}, {"trouble", "disk", "log"}),
        (None, set()),
    ],
)
def test_troubles_of_the_daemon_are_told_by_kind(troubles: dict[str, str] | None, on: set[str]) -> None:
    """None: a broker takes only short messages, so they are left out."""
    stats = json.dumps({} if troubles is None else {"troubles": troubles}).encode()
    found = components(entities().of_device())
    shown = {name: rendered(found[name]["value_template"], stats) for name in ("trouble", "disk", "log")}
    assert {name for name, state in shown.items() if state == "ON"} == on
    attributes = {
        name: json.loads(rendered(found[name]["json_attributes_template"], stats)) for name in shown
    }
    assert attributes["trouble"]["troubles"] == (troubles or {})
    assert attributes["disk"]["troubles"].keys() == (troubles or {}).keys() & {"journal", "filing"}
    assert attributes["log"]["trouble"] == (troubles or {}).get("log")


def rendered(template: str, payload: bytes, **attributes: object) -> str:
    """As by Home Assistant, in whose templates `this` is the entity with its attributes so far."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - no HTML
    this = {"attributes": attributes}
    return environment.from_string(template).render(value_json=json.loads(payload), this=this)


@pytest.mark.broker
def test_cameras_appear_as_they_come_and_the_birth_message_is_answered(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "#") as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        wait_until(lambda: len(messages(subscriber)) == 1)
        assert "front_label" not in components(messages(subscriber)[0])
        drop(house, "front", "a.jpg")
        wait_until(lambda: "front_label" in told(subscriber))
        before = len(messages(subscriber))
        publish.single("homeassistant/status", "online", hostname="127.0.0.1", port=broker.port)
        wait_until(lambda: len(messages(subscriber)) == before + 1)
        switch = components(messages(subscriber)[-1])["pause"]
        publish.single(switch["command_topic"], switch["payload_on"], port=broker.port, hostname="127.0.0.1")
        wait_until(lambda: json.loads(subscriber.topics("/stats")[-1])["paused"] is True)
        publish.single(switch["command_topic"], switch["payload_off"], port=broker.port, hostname="127.0.0.1")
        wait_until(lambda: json.loads(subscriber.topics("/stats")[-1])["paused"] is False)
        button = components(messages(subscriber)[-1])["rescan"]
        publish.single(
            button["command_topic"], button["payload_press"], port=broker.port, hostname="127.0.0.1"
        )
        wait_until(lambda: any(b'"rescan"' in each for each in subscriber.topics("command/response")))


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.broker
def test_the_newest_picture_is_retained_at_most_once_a_second_and_goes_when_turned_off(
    tmp_path: Path,
) -> None:
    topic = "dropsight/test/thumbnail/front"
    with mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        with running(tmp_path, mqtt={"url": broker.url, "thumbnails": True}) as house:
            for number in range(len(PHOTOS)):
                drop(house, "front", f"{number}.jpg", number)
                wait_until(lambda number=number: house.finished() == number + 1)  # type: ignore[misc]
            newest = cv2.imread(str(PHOTOS[-1]))
            assert newest is not None
            wait_until(lambda: any(_like(jpeg, newest) for jpeg in messages(subscriber, topic)))
            assert len(messages(subscriber, topic)) < len(PHOTOS)
            assert told(subscriber)["front_picture"]["image_topic"] == topic
            with Subscriber(broker.port, topic) as late:
                wait_until(lambda: len(late.messages) == 1)
                assert late.messages[0][2]  # retained
            house.stop()
        with running(tmp_path, mqtt={"url": broker.url}):
            wait_until(lambda: messages(subscriber, topic)[-1] == b"")
            taken_back = {"platform": "image"}
            wait_until(lambda: told(subscriber)["front_picture"] == taken_back)


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("forgets", [True, False])
def test_pictures_are_sent_anew_only_to_a_broker_that_has_forgotten_them(
    tmp_path: Path,
    forgets: bool,  # noqa: FBT001
) -> None:
    """To Home Assistant each is a new one, and fires what waits for one."""
    front, back = "dropsight/test/thumbnail/front", "dropsight/test/thumbnail/back"
    extra = "allow_anonymous true\n"
    if not forgets:
        extra += f"persistence true\npersistence_location {tmp_path}/\n"
        extra += "autosave_on_changes true\nautosave_interval 1\n"
    with (
        mosquitto(tmp_path, extra=extra) as broker,
        running(tmp_path, mqtt={"url": broker.url, "thumbnails": True}) as house,
    ):
        with Subscriber(broker.port, "#") as subscriber:
            drop(house, "front", "a.jpg")
            wait_until(lambda: bool(messages(subscriber, front)))
        kept = tmp_path / "mosquitto.db"
        wait_until(lambda: forgets or (kept.exists() and front.encode() in kept.read_bytes()))
        broker.kill()
        broker.start()
        with Subscriber(broker.port, "#") as subscriber:
            drop(house, "back", "a.jpg")
            wait_until(lambda: bool(messages(subscriber, back) and messages(subscriber, front)))
            heard = [(topic, kept) for topic, _, kept in list(subscriber.messages) if topic == front]
    # What comes because somebody subscribes is marked as retained.
    assert (front, False) in heard if forgets else heard == [(front, True)]


@pytest.mark.slow
@pytest.mark.broker
def test_a_broker_that_has_forgotten_is_sent_the_pictures_of_an_earlier_life(tmp_path: Path) -> None:
    """As after a power cut that ended both; one that still has a picture is not sent it once more."""
    settings = {"thumbnails": True, "url": ""}
    front, back, gone = (f"dropsight/test/thumbnail/{camera}" for camera in ("front", "back", "gone"))
    with mosquitto(tmp_path) as broker:
        settings["url"] = broker.url
        with running(tmp_path, mqtt=settings) as house, Subscriber(broker.port, "#") as subscriber:
            for camera in ("front", "back", "gone"):
                drop(house, camera, "a.jpg")
            wait_until(lambda: all(messages(subscriber, topic) for topic in (front, back, gone)))
            (before,) = messages(subscriber, front)
            wait_until(lambda: not house.waiting(), what="the images are filed")
        broker.kill()
        (house.processed / "gone" / "a.jpg").unlink()
        broker.start()
        kept = messages(subscriber, back)[-1]
        publish.single(back, kept, retain=True, hostname="127.0.0.1", port=broker.port)
        with Subscriber(broker.port, "#") as subscriber, running(tmp_path, mqtt=settings) as house:
            wait_until(lambda: bool(messages(subscriber, front)))
            photo = cv2.imread(str(PHOTOS[0]))
            assert photo is not None
            assert _like(messages(subscriber, front)[-1], photo)
            assert _like(before, photo)
            missing = "picture of camera gone cannot be published again: No such file or directory\n"
            wait_until(lambda: missing in house.daemon_log())
            drop(house, "gone", "b.jpg")
            wait_until(lambda: bool(messages(subscriber, gone)))
            heard = [(topic, kept) for topic, _, kept in list(subscriber.messages) if topic == back]
    assert heard == [(back, True)]


@pytest.mark.broker
def test_what_was_told_as_waiting_is_told_as_done_before_the_stats_are_due(tmp_path: Path) -> None:
    def last(subscriber: Subscriber) -> tuple[int, int] | None:
        told = subscriber.topics("/stats")
        counters = json.loads(told[-1])["counters"] if told else None
        return counters and (counters["waiting"], counters["done"])

    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "#") as subscriber,
        running(tmp_path, mqtt={"url": broker.url}, stats={"interval_seconds": 3600.0}) as house,
    ):
        house.ask("pause")
        drop(house, "front", "a.jpg")
        wait_until(lambda: house.counters()["waiting"] == 1)
        house.ask("pause")
        wait_until(lambda: last(subscriber) == (1, 0))
        house.ask("resume")
        wait_until(lambda: last(subscriber) == (0, 1))


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8080", None),
        ("localhost:8080", None),
        ("[::1]:8080", None),
        ("192.0.2.7:8080", "http://192.0.2.7:8080/"),
        ("[2001:db8::7]:80", "http://[2001:db8::7]:80/"),
        ("pi.example:0", None),
    ],
)
def test_home_assistant_is_given_the_address_of_a_dashboard_that_others_reach(
    listen: str, address: str | None
) -> None:
    assert address_for_others(Web(listen=listen)) == address
    known = Entities("x", Topics.of("dropsight", "x"), thumbnails=False, dashboard=lambda: address)
    assert json.loads(known.of_device())["device"].get("configuration_url") == address


def test_of_a_dashboard_on_all_addresses_it_is_given_one_that_is_no_wildcard() -> None:
    assert address_for_others(None) is None
    found = address_for_others(Web(listen="0.0.0.0:8080"))
    assert found
    assert "0.0.0.0" not in found  # noqa: S104 - what is not to be there


@pytest.mark.broker
def test_a_run_once_tells_of_its_cameras_before_it_ends(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        house = House(tmp_path, {"mqtt": {"url": broker.url, "thumbnails": True}})
        for camera in ("front", "back"):
            drop(house, camera, "a.jpg")
        assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
        for camera in ("front", "back"):
            wait_until(lambda camera=camera: f"{camera}_picture" in told(subscriber))  # type: ignore[misc]
            for kind in ("state", "problem", "thumbnail"):
                wait_until(lambda kind=kind, camera=camera: bool(subscriber.topics(f"/{kind}/{camera}")))  # type: ignore[misc]


def _like(jpeg: bytes, photo: np.ndarray[Any, Any]) -> bool:
    """Whether a thumbnail is of this photo."""
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert max(shown.shape) <= 320
    small = cv2.resize(photo, (shown.shape[1], shown.shape[0]), interpolation=cv2.INTER_AREA)
    return small.shape == shown.shape and float(np.abs(small.astype(int) - shown).mean()) < 8
