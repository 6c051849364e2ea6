"""Brokers that take few messages at once (MQTT 5: Receive Maximum), from records and announcements alike."""

import json
import shutil
from itertools import groupby
from pathlib import Path

import pytest

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, bounded_by
from proxies import stingy, unacknowledging

pytestmark = pytest.mark.broker

HASTILY = bounded_by("dropsight.sinks.mqtt.announcing", ALONE_SECONDS=0.05)


def few(places: int) -> str:
    return f"allow_anonymous true\nmax_inflight_messages {places}\n"


def drop(house: House, count: int) -> None:
    """One for each of so many cameras."""
    for number in range(count):
        camera = house.inbox / f"camera{number:02}"
        camera.mkdir()
        shutil.copy(PHOTOS[number % len(PHOTOS)], camera / "x.jpg")


def recorded(subscriber: Subscriber) -> set[str]:
    return {json.loads(payload)["image_path"] for payload in subscriber.topics("/result/")}


@pytest.mark.parametrize("places", [1, 3])
def test_no_more_is_on_the_way_than_a_broker_grants_and_records_and_announcements_take_turns(
    tmp_path: Path, places: int
) -> None:
    """Each announcement waited for ten seconds, then went beyond; no record was sent meanwhile."""
    with (
        mosquitto(tmp_path, extra=few(places)) as broker,
        stingy(broker.port, pace_seconds=0.1) as slow,
        Subscriber(broker.port, "#") as subscriber,
    ):
        slow.refusing = True
        house = House(tmp_path, {"mqtt": {"url": slow.url}})
        house.under = HASTILY
        try:
            house.start()
            drop(house, 15)
            house.until(lambda: len(house.records()) == 15)
            slow.refusing = False
            wait_until(lambda: len(recorded(subscriber)) == 15)
            wait_until(lambda: house.status()["mqtt"]["published"] == 15)
            assert slow.most == places
            kinds = ["/result/" in topic for topic in slow.topics]
            first, last = kinds.index(False), len(kinds) - 1 - kinds[::-1].index(True)
            runs = [len(list(run)) for is_record, run in groupby(kinds[first:last]) if not is_record]
            assert max(runs) <= places + 1, "no record had its turn"
            assert len(runs) >= 5, "no announcement had its turn"
            wait_until(lambda: len(set(subscriber.topics("/availability"))) == 1)
            wait_until(lambda: len({topic for topic in slow.topics if "/state/" in topic}) == 15)
            assert house.stop() == 0
            wait_until(lambda: subscriber.topics("/availability")[-1:] == [b"offline"])
            assert slow.most == places
        finally:
            house.kill()


def test_what_waits_for_a_place_beside_no_record_is_told_of_and_asked_on_another_connection(
    tmp_path: Path,
) -> None:
    """An announcement that is never acknowledged has the only place."""
    with (
        mosquitto(tmp_path, extra=few(1)) as broker,
        unacknowledging(broker.port) as lossy,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": lossy.url}})
        hasty = ("dropsight.sinks.mqtt.announcing", {"ALONE_SECONDS": 0.05})
        patience = {"TOLD_SECONDS": 0.3, "LOST_SECONDS": 2.0}
        house.under = bounded_by("dropsight.sinks.mqtt.record_session", hasty, **patience)
        try:
            house.start()
            wait_until(lambda: "acknowledges nothing" in house.status()["troubles"].get("mqtt", ""))
            wait_until(lambda: lossy.connections >= 2)
            assert not subscriber.topics("/info")
            lossy.silent = False
            wait_until(lambda: bool(subscriber.topics("/info")))
            wait_until(lambda: not house.status()["troubles"])
        finally:
            house.kill()


def test_a_stop_waits_for_no_place_and_says_offline_all_the_same(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path, extra=few(1)) as broker,
        unacknowledging(broker.port) as lossy,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": lossy.url}})
        try:
            house.start()
            wait_until(lambda: subscriber.topics("/availability") == [b"online"])
            assert house.stop() == 0
            wait_until(lambda: subscriber.topics("/availability")[-1] == b"offline")
            assert "is still" not in house.daemon_log()
        finally:
            house.kill()


def test_records_that_are_on_the_way_while_a_former_name_is_taken_back_are_acknowledged(
    tmp_path: Path,
) -> None:
    """Who took it back heard their acknowledgements, and nobody else: they came again ten minutes later."""
    with (
        mosquitto(tmp_path, extra=few(5)) as broker,
        stingy(broker.port, pace_seconds=0.1) as slow,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": slow.url}})
        try:
            house.start()
            wait_until(lambda: bool(subscriber.topics("test/availability")))
            assert house.stop() == 0
            slow.refusing = True
            house.configure({"device": "other", "mqtt": {"url": slow.url}})
            house.start()
            drop(house, 5)
            house.until(lambda: len(house.records()) == 5)
            slow.refusing = False
            wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)
            wait_until(lambda: subscriber.topics("test/availability")[-1] == b"")
            assert slow.most <= 5
            assert len(list(filter(None, subscriber.topics("other/result/")))) == 5
        finally:
            house.kill()
