"""A broker that gives all clients of a username one client id: our own connections throw each other out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import Mosquitto, mosquitto, wait_until
from daemons import House, dropsight
from dropsight.config import Mqtt
from dropsight.sinks.backoff import LONGEST_SECONDS
from dropsight.sinks.mqtt.broker import Protocol
from dropsight.sinks.mqtt.evictions import FEW, SOON_SECONDS, Evictions
from dropsight.sinks.mqtt.one_id import ONE_ID, has_one_id_for_all
from proxies import leaving

pytestmark = pytest.mark.broker

IMAGES = [{"path": "inbox"}, {"mqtt": "cameras/+/image"}]
PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@contextmanager
def one_id_for_all(folder: Path) -> Iterator[Mosquitto]:
    with mosquitto(folder, extra="allow_anonymous true\nuse_username_as_clientid true\n") as broker:
        broker.url = f"mqtt://yard@127.0.0.1:{broker.port}"
        yield broker


@pytest.mark.slow
@PROTOCOLS
def test_the_daemon_says_why_its_connections_end_each_other_and_goes_on_saying_so(
    tmp_path: Path, protocol: str
) -> None:
    """Images were lost, and all that was said was "connection lost", for seconds each."""
    with one_id_for_all(tmp_path) as broker:
        house = House(tmp_path, {"mqtt": {"url": broker.url, "protocol": protocol}, "watch": IMAGES})
        try:
            house.start()
            wait_until(lambda: ONE_ID in house.status()["troubles"].get("mqtt", ""))
            assert ONE_ID in dropsight("status", "-c", str(house.config)).stdout
            wait_until(lambda: house.status()["mqtt"]["connected"])
            wait_until(lambda: not house.status()["mqtt"]["connected"], what="it is thrown out again")
            assert ONE_ID in house.status()["troubles"]["mqtt"]
        finally:
            house.kill()


@PROTOCOLS
def test_check_finds_that_images_over_mqtt_would_be_lost(tmp_path: Path, protocol: str) -> None:
    with one_id_for_all(tmp_path) as broker:
        house = House(tmp_path, {"mqtt": {"url": broker.url, "protocol": protocol}, "watch": IMAGES})
        found = dropsight("check", "-c", str(house.config))
        assert found.returncode == 1
        assert any(line.startswith("FAIL") and ONE_ID in line for line in found.stdout.splitlines())


def test_check_warns_who_has_no_images_over_mqtt(tmp_path: Path) -> None:
    """Who has a username of his own may leave it as it is."""
    with one_id_for_all(tmp_path) as broker:
        house = House(tmp_path, {"mqtt": {"url": broker.url}})
        found = dropsight("check", "-c", str(house.config))
        assert found.returncode == 0
        assert any(line.startswith("warn") and ONE_ID in line for line in found.stdout.splitlines())


@PROTOCOLS
def test_a_broker_that_keeps_client_ids_apart_or_hangs_up_on_everyone_is_not_taken_for_one(
    tmp_path: Path, protocol: Protocol
) -> None:
    with mosquitto(tmp_path) as broker, leaving(broker.port) as hasty:
        for each in (broker, hasty):
            assert not has_one_id_for_all(Mqtt(url=each.url, protocol=protocol), "yard")
    assert not has_one_id_for_all(Mqtt(url=broker.url, protocol=protocol), "yard"), "it is away"


def test_it_is_believed_until_a_connection_has_outlasted_the_pauses_of_all_others() -> None:
    now = 0.0
    evictions = Evictions(clock=lambda: now)
    for _ in range(FEW):
        evictions.logged_in()
        evictions.lost(was_told=False, idle=True)
    assert not evictions.are_by_rule(lambda: False)
    assert evictions.are_by_rule(lambda: True)
    evictions.logged_in()
    now += max(SOON_SECONDS, LONGEST_SECONDS) + 1
    evictions.lost(was_told=False, idle=True)
    assert evictions.suspected
    assert evictions.are_by_rule(lambda: False)
    evictions.logged_in()
    now += evictions.seconds_to_last()
    assert evictions.seconds_to_last() == 0
    assert not evictions.suspected
    assert not evictions.are_by_rule(lambda: False)
