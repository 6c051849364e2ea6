"""What a device retained goes from the broker with its name, and nothing else goes with it."""

import shutil
import signal
from pathlib import Path

import pytest
import yaml

from brokers import Mosquitto, Subscriber, free_port, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from proxies import hanging_up

pytestmark = pytest.mark.broker

NEIGHBOUR = "dropsight/neighbour/availability"
DISCOVERY = "homeassistant/device/dropsight_test/config"
RETAINED = {"availability", "info", "stats", "state/front", "problem/front", "result/front"}


def settings(broker: Mosquitto) -> dict[str, object]:
    return {"url": broker.url, "retain": True}


def retained(broker: Mosquitto, *, at_least: str = NEIGHBOUR) -> set[str]:
    """Name what a newcomer is told; the last by name of all topics is known to be there."""
    with Subscriber(broker.port, "#") as subscriber:
        wait_until(lambda: at_least in {topic for topic, _, _ in list(subscriber.messages)})
        subscriber.publish("end/of/it", b"x")
        wait_until(lambda: bool(subscriber.topics("end/of/it")))
        return {topic for topic, _, kept in list(subscriber.messages) if kept}


def shown(broker: Mosquitto, root: str = "dropsight/test") -> None:
    """Wait until everything is retained that a camera's first image brings."""
    wait_until(lambda: {f"{root}/{name}" for name in RETAINED} <= retained(broker))


def announce(broker: Mosquitto, topic: str = NEIGHBOUR) -> None:
    with Subscriber(broker.port, topic) as subscriber:
        subscriber._client.publish(topic, b"online", qos=1, retain=True).wait_for_publish(10)  # noqa: SLF001


def drop(house: House) -> None:
    (house.inbox / "front").mkdir(exist_ok=True)
    shutil.copy(PHOTOS[0], house.inbox / "front" / "a.jpg")


def rename(house: House, **changes: object) -> None:
    config = yaml.safe_load(house.config.read_text())
    house.config.write_text(yaml.safe_dump({**config, **changes}))


@pytest.mark.slow
def test_after_a_reload_with_another_device_nothing_of_the_former_one_is_left(tmp_path: Path) -> None:
    rule = {"name": "any_thing", "labels": ["*"], "confidence": 0.01, "confirm": "1 of 1"}
    with (
        mosquitto(tmp_path) as broker,
        running(tmp_path, mqtt=settings(broker), events=[rule]) as house,
    ):
        announce(broker)
        drop(house)
        shown(broker)
        of_events = {f"dropsight/test/{kind}/front/any_thing" for kind in ("active", "seen")}
        wait_until(lambda: of_events <= retained(broker))
        rename(house, device="porch")
        assert house.process
        with Subscriber(broker.port, "#") as subscriber:
            house.process.send_signal(signal.SIGHUP)
            wait_until(lambda: subscriber.topics("dropsight/porch/availability") == [b"online"])
            told = [(topic, payload) for topic, payload, kept in subscriber.messages if not kept]
        assert (DISCOVERY, b"") in told
        assert told.index((DISCOVERY, b"")) < told.index(("dropsight/porch/availability", b"online"))
        left = retained(broker)
        assert not {topic for topic in left if topic.startswith("dropsight/test/")}
        assert DISCOVERY not in left
        assert NEIGHBOUR in left
        assert house.stop() == 0
    assert "removed 10 retained messages of dropsight/test" in house.daemon_log()


@pytest.mark.slow
def test_after_a_restart_with_another_base_topic_home_assistants_device_is_the_same(tmp_path: Path) -> None:
    """Who takes the device away for a moment loses its place on people's dashboards."""
    with mosquitto(tmp_path) as broker:
        with running(tmp_path, mqtt=settings(broker)) as house:
            announce(broker)
            drop(house)
            shown(broker)
            assert house.stop() == 0
        rename(house, mqtt={**settings(broker), "base_topic": "dropsight/test"})
        with Subscriber(broker.port, DISCOVERY) as subscriber:
            house.start()
            try:
                wait_until(lambda: b"dropsight/test/test/stats" in b"".join(subscriber.topics("")))
                assert b"" not in subscriber.topics("")
                left = {topic for topic in retained(broker) if topic.startswith("dropsight/test/")}
                assert left
                assert all(topic.startswith("dropsight/test/test/") for topic in left)
            finally:
                house.kill()


@pytest.mark.slow
def test_retire_takes_what_a_stopped_daemon_retained_and_nothing_of_others(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, running(tmp_path, mqtt=settings(broker)) as house:
        announce(broker)
        drop(house)
        shown(broker)
        refused = dropsight("retire", "-c", str(house.config))
        assert refused.returncode == 1
        assert "online as dropsight/test: stop it first" in refused.stderr
        shown(broker)
        assert house.stop() == 0
        done = dropsight("retire", "-c", str(house.config))
        assert (done.returncode, done.stdout) == (
            0,
            f"removed 8 retained messages of dropsight/test from {broker.url}\n",
        )
        assert retained(broker) == {NEIGHBOUR}


def test_retire_says_that_the_broker_is_away(tmp_path: Path) -> None:
    house = House(tmp_path, {"mqtt": {"url": f"mqtt://127.0.0.1:{free_port()}"}})
    done = dropsight("retire", "-c", str(house.config))
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


def test_retire_says_that_the_broker_hangs_up_on_who_asks_what_it_keeps(tmp_path: Path) -> None:
    """It removed nothing then, and said so with exit code 0."""
    with mosquitto(tmp_path) as broker, hanging_up(broker.port, b"dropsight/test/#") as middle:
        house = House(tmp_path, {"mqtt": {"url": middle.url}})
        done = dropsight("retire", "-c", str(house.config))
        assert done.returncode == 1
        assert "dropsight/test cannot be asked: the broker disconnects on that" in done.stderr
        assert "removed" not in done.stdout


@pytest.mark.slow
def test_a_former_name_that_is_online_elsewhere_is_left_alone(tmp_path: Path) -> None:
    """The card of a Pi was copied for a second one, which got a name of its own."""
    with mosquitto(tmp_path) as broker:
        with running(tmp_path, mqtt=settings(broker)) as house:
            announce(broker)
            wait_until(lambda: DISCOVERY in retained(broker))
            assert house.stop() == 0
        announce(broker, "dropsight/test/availability")
        rename(house, device="copy")
        house.start()
        try:
            wait_until(lambda: "dropsight/copy/availability" in retained(broker))
            assert {DISCOVERY, "dropsight/test/availability"} <= retained(broker)
        finally:
            house.kill()
    assert (
        "retained messages of dropsight/test stay on the broker: a dropsight is online" in house.daemon_log()
    )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_lets_nobody_touch_the_former_name_gets_the_records_all_the_same(
    tmp_path: Path, protocol: str
) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite #\n")
    extra = f"allow_anonymous true\nacl_file {rules}\npersistence true\npersistence_location {tmp_path}/\n"
    # Mosquitto 2.0.11 hangs up on who is refused a message where any number may wait.
    extra += "autosave_on_changes true\nautosave_interval 1\nmax_queued_messages 10000\n"
    with mosquitto(tmp_path, extra=extra) as broker:
        mqtt = {**settings(broker), "protocol": protocol}
        with running(tmp_path, mqtt=mqtt) as house:
            announce(broker)
            wait_until(lambda: "dropsight/test/info" in retained(broker))
            assert house.stop() == 0
        rules.write_text("topic read #\ntopic write dropsight/new/#\ntopic write end/#\n")
        broker.kill()
        broker.start()
        rename(house, device="new")
        house.start()
        try:
            drop(house)
            wait_until(lambda: "dropsight/new/result/front" in retained(broker))
        finally:
            house.kill()
    assert "the broker did not remove the retained message dropsight/test/" in house.daemon_log()


@pytest.mark.slow
@pytest.mark.parametrize("allowed", ["everything is there", "nothing is there"])
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_where_home_assistants_topics_are_forbidden_retire_takes_the_rest_and_names_them(
    tmp_path: Path, protocol: str, allowed: str
) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite #\n")
    extra = f"allow_anonymous true\nacl_file {rules}\nmax_queued_messages 10000\n"
    was_told = allowed == "everything is there"
    with mosquitto(tmp_path, extra=extra) as broker:
        mqtt = {**settings(broker), "protocol": protocol, "home_assistant": was_told}
        with running(tmp_path, mqtt=mqtt) as house:
            announce(broker)
            drop(house)
            shown(broker)
            if was_told:
                wait_until(lambda: DISCOVERY in retained(broker))
            assert house.stop() == 0
        rules.write_text("topic read #\ntopic write dropsight/#\ntopic write end/#\n")
        broker.signal(signal.SIGHUP)  # Mosquitto reads its rules again
        done = dropsight("retire", "-c", str(house.config))
        left = retained(broker)
    assert not {topic for topic in left if topic.startswith("dropsight/test/")}
    assert "removed 6 retained messages of dropsight/test" in done.stdout
    assert done.returncode == was_told
    if was_told:
        assert f"the broker did not remove the retained message {DISCOVERY}: " in done.stderr
    elif protocol == "5":
        assert (
            "may not publish to homeassistant/#, and sees no retained message there: Not auth" in done.stdout
        )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_where_a_broker_hangs_up_on_home_assistants_topics_all_else_is_taken_back(
    tmp_path: Path, protocol: str
) -> None:
    with mosquitto(tmp_path) as broker:
        mqtt = {**settings(broker), "protocol": protocol, "home_assistant": False}
        with running(tmp_path, mqtt=mqtt) as house:
            announce(broker)
            drop(house)
            shown(broker)
            assert house.stop() == 0
        with hanging_up(broker.port, b"homeassistant/device/") as middle:
            rename(house, device="new", mqtt={**mqtt, "url": middle.url})
            house.start()
            try:
                wait_until(
                    lambda: not [each for each in retained(broker) if each.startswith("dropsight/test/")]
                )
            finally:
                house.stop()
            done = dropsight("retire", "-c", str(house.config))
            assert (done.returncode, done.stderr) == (0, "")
            assert "may not publish to homeassistant/#" in done.stdout
        assert retained(broker) == {NEIGHBOUR}
