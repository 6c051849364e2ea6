"""Brokers that die, stall, answer slowly or not at all, and forget: the log goes on, the outbox follows."""

import contextlib
import json
import shutil
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from brokers import Mosquitto, Subscriber, free_port, mosquitto, wait_until
from daemons import PHOTOS, House, bounded_by, running
from dropsight.sinks.mqtt.suspects import RECORD_LOSSES
from dropsight.sinks.mqtt.tls_errors import HUNG_UP
from proxies import (
    Proxy,
    about_to_start,
    hanging_up,
    leaving,
    of_an_earlier_version,
    often_hanging_up,
    proxy,
    unacknowledging,
)

pytestmark = pytest.mark.broker

SHORT = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.05)
PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
CAMERAS = ("front", "yard")


def drop(house: House, count: int, *, start: int = 0, camera: str = "") -> None:
    """Drop photos one after the other, so that their order is known: cameras take turns if none is named."""
    for number in range(start, start + count):
        target = house.inbox / (camera or CAMERAS[number % 2]) / f"{number:04}.jpg"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(PHOTOS[number % len(PHOTOS)], target)


def logged(house: House) -> list[dict[str, Any]]:
    return house.records()


def by_camera(records: list[dict[str, Any]]) -> dict[str, list[str]]:
    """First appearances only: a repeat of what was in flight is allowed."""
    found: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record["id"] not in found[record["camera"]]:
            found[record["camera"]].append(record["id"])
    return found


def published(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in subscriber.topics("/result/")]


def outbox(house: House) -> int:
    depth: int = house.status()["stats"]["queues"]["outbox"]
    return depth


def all_delivered_in_order(house: House, subscriber: Subscriber, count: int) -> None:
    """The journal's order is the log's, and the subscriber's for each camera."""
    wait_until(lambda: outbox(house) == 0)
    wait_until(lambda: len({record["id"] for record in published(subscriber)}) == count)
    assert len(logged(house)) == count
    assert by_camera(published(subscriber)) == by_camera(logged(house))


@pytest.mark.slow
@PROTOCOLS
def test_a_broker_paused_for_a_while_holds_up_nothing_but_itself(tmp_path: Path, protocol: str) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url, "protocol": protocol}) as house,
    ):
        wait_until(lambda: house.status()["mqtt"]["connected"])
        broker.signal(signal.SIGSTOP)
        drop(house, 150)
        house.until(lambda: len(logged(house)) == 150)
        assert outbox(house) == 150
        broker.signal(signal.SIGCONT)
        all_delivered_in_order(house, subscriber, 150)


@pytest.mark.slow
@PROTOCOLS
def test_a_half_open_connection_is_noticed_by_the_keepalive_and_left(tmp_path: Path, protocol: str) -> None:
    with mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber, proxy(broker.port) as middle:
        mqtt = {"url": middle.url, "protocol": protocol, "keepalive": 5}
        with running(tmp_path, mqtt=mqtt) as house:
            wait_until(lambda: house.status()["mqtt"]["connected"])
            middle.swallowing = True
            drop(house, 20)
            wait_until(lambda: len(logged(house)) == 20)
            wait_until(lambda: not house.status()["mqtt"]["connected"])
            middle.swallowing = False
            all_delivered_in_order(house, subscriber, 20)
            assert middle.connections >= 2


@pytest.mark.slow
@PROTOCOLS
def test_a_slow_broker_slows_nothing_down_but_the_outbox(tmp_path: Path, protocol: str) -> None:
    with mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber, proxy(broker.port) as middle:
        middle.delay_seconds = 0.2
        with running(tmp_path, mqtt={"url": middle.url, "protocol": protocol}) as house:
            drop(house, 150)
            house.until(lambda: len(logged(house)) == 150)
            middle.delay_seconds = 0.0
            all_delivered_in_order(house, subscriber, 150)


@pytest.mark.slow
@PROTOCOLS
def test_a_broker_that_refuses_connections_gets_everything_when_it_is_there(
    tmp_path: Path, protocol: str
) -> None:
    """The proxy refuses as long as nobody listens behind it."""
    with (
        proxy(port := free_port()) as middle,
        running(tmp_path, mqtt={"url": middle.url, "protocol": protocol}) as house,
    ):
        drop(house, 60)
        wait_until(lambda: len(logged(house)) == 60)
        assert outbox(house) == 60
        middle.refusing = True
        with mosquitto(tmp_path, port=port), Subscriber(port) as subscriber:
            middle.refusing = False
            all_delivered_in_order(house, subscriber, 60)


@pytest.mark.slow
@PROTOCOLS
def test_a_broker_that_refuses_the_password_gets_everything_once_it_does_not(
    tmp_path: Path, protocol: str
) -> None:
    with proxy(port := free_port()) as middle, contextlib.ExitStack() as stack:
        (tmp_path / "secret").write_text("wrong")
        login = {"username": "bob", "password_file": "secret", "url": middle.url, "protocol": protocol}
        strict = Mosquitto(tmp_path, port=port, extra="allow_anonymous false\n")
        stack.callback(strict.kill)
        strict.start()
        with running(tmp_path, mqtt=login) as house:
            wait_until(lambda: "refuses the login" in house.status()["troubles"].get("mqtt", ""))
            drop(house, 60)
            wait_until(lambda: len(logged(house)) == 60)
            middle.refusing = True
            strict.kill()
            with mosquitto(tmp_path, port=port), Subscriber(port) as subscriber:
                middle.refusing = False
                all_delivered_in_order(house, subscriber, 60)


@pytest.mark.slow
@PROTOCOLS
@pytest.mark.parametrize("wiped", [False, True])
def test_a_broker_killed_in_mid_stream_gets_everything_that_it_had_not_acknowledged(
    tmp_path: Path, protocol: str, *, wiped: bool
) -> None:
    """With its memory wiped it has forgotten what was retained, too: that is said again."""
    memory = tmp_path / "memory"
    memory.mkdir()
    extra = f"allow_anonymous true\npersistence true\npersistence_location {memory}/\n"
    with (
        mosquitto(tmp_path, extra=extra) as broker,
        proxy(broker.port) as middle,
        running(tmp_path, mqtt={"url": middle.url, "protocol": protocol}) as house,
    ):
        with Subscriber(broker.port) as first:
            wait_until(lambda: house.status()["mqtt"]["connected"])
            drop(house, 40)
            wait_until(lambda: len(published(first)) >= 5)
            middle.refusing = True
            wait_until(lambda: not house.status()["mqtt"]["connected"])
            had = house.status()["mqtt"]["published"]
            wait_until(lambda: len(published(first)) >= had)
            broker.kill()
            heard = published(first)
        drop(house, 40, start=40)
        wait_until(lambda: len(logged(house)) == 80)
        if wiped:
            shutil.rmtree(memory)
            memory.mkdir()
        broker.start()
        with Subscriber(broker.port) as second:
            middle.refusing = False
            wait_until(lambda: outbox(house) == 0)
            wait_until(lambda: len(by_id(heard + published(second))) == 80)
            assert by_camera(heard + published(second)) == by_camera(logged(house))
            wait_until(lambda: b"online" in second.topics("/availability"))
            wait_until(lambda: len(second.topics("/state/")) >= 2)
            assert second.topics("/info")


def by_id(records: list[dict[str, Any]]) -> set[str]:
    return {record["id"] for record in records}


@pytest.mark.slow
def test_what_is_beyond_max_backlog_is_dropped_counted_and_said_and_the_newest_arrive(
    tmp_path: Path,
) -> None:
    port = free_port()
    with running(tmp_path, mqtt={"url": f"mqtt://127.0.0.1:{port}", "max_backlog": 70}) as house:
        drop(house, 300)
        house.until(lambda: len(logged(house)) == 300)
        wait_until(lambda: house.status()["dropped"] >= 100)
        wait_until(lambda: outbox(house) <= 70 + 64)
        dropped = house.status()["dropped"]
        wait_until(lambda: (status := house.status())["stats"]["dropped"] == status["dropped"])
        assert "records that the broker did not accept: mqtt.max_backlog" in house.daemon_log()
        broker = Mosquitto(tmp_path, port=port)
        broker.start()
        try:
            with Subscriber(port):
                wait_until(lambda: outbox(house) == 0)
                status = house.status()
                assert status["mqtt"]["published"] + status["dropped"] == 300
                assert status["dropped"] >= dropped
        finally:
            broker.kill()
        assert len(logged(house)) == 300


@pytest.mark.slow
@PROTOCOLS
def test_a_broker_that_acknowledges_no_record_is_told_of_and_asked_on_another_connection(
    tmp_path: Path, protocol: str
) -> None:
    """It answers pings: the records waited for ever, and nobody was told."""
    with (
        mosquitto(tmp_path) as broker,
        unacknowledging(broker.port) as lossy,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": lossy.url, "protocol": protocol}})
        house.under = bounded_by("dropsight.sinks.mqtt.record_session", TOLD_SECONDS=0.5, LOST_SECONDS=3.0)
        try:
            house.start()
            wait_until(lambda: house.status()["mqtt"]["connected"])
            drop(house, 3)
            wait_until(lambda: "acknowledges no record" in house.status()["troubles"].get("records", ""))
            assert house.status()["mqtt"]["connected"]
            wait_until(lambda: "acknowledges no record" in house.status()["troubles"].get("mqtt", ""))
            lossy.silent = False
            all_delivered_in_order(house, subscriber, 3)
            wait_until(lambda: not house.status()["troubles"])
            assert house.status()["mqtt"]["set_aside"] == 0
        finally:
            house.kill()


def test_a_broker_that_acknowledges_no_announcement_is_told_of_and_asked_on_another_connection(
    tmp_path: Path,
) -> None:
    """Of few places for what is on the way, these have all: no record was sent, for ever and unsaid."""
    with (
        mosquitto(tmp_path, extra="allow_anonymous true\nmax_inflight_messages 1\n") as broker,
        unacknowledging(broker.port, but_on=b"/result/") as lossy,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": lossy.url, "protocol": "5"}})
        hasty = ("dropsight.sinks.mqtt.announcing", {"ALONE_SECONDS": 0.2})
        patience = {"TOLD_SECONDS": 0.3, "LOST_SECONDS": 2.0}
        house.under = bounded_by("dropsight.sinks.mqtt.record_session", hasty, **patience)
        try:
            house.start()
            wait_until(lambda: house.status()["mqtt"]["connected"])
            wait_until(lambda: bool(subscriber.topics("/availability")))  # it has the only place
            drop(house, 3)
            wait_until(lambda: "acknowledges nothing" in house.status()["troubles"].get("records", ""))
            wait_until(lambda: len(published(subscriber)) == 3, what="another connection begins with records")
            lossy.silent = False
            all_delivered_in_order(house, subscriber, 3)
            wait_until(lambda: not house.status()["troubles"])
        finally:
            house.kill()


def test_records_have_places_beside_announcements_that_a_broker_never_acknowledges(tmp_path: Path) -> None:
    """It acknowledges each record: they came by a few, once in ten minutes."""
    with (
        mosquitto(tmp_path, extra="allow_anonymous true\nmax_inflight_messages 3\n") as broker,
        unacknowledging(broker.port, but_on=b"/result/") as lossy,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": lossy.url, "protocol": "5"}})
        bounds = "dropsight.sinks.mqtt.record_session"
        try:
            house.start()
            wait_until(lambda: len(subscriber.topics("")) >= 2, what="announcements have all they may")
            drop(house, 20)
            all_delivered_in_order(house, subscriber, 20)
            assert lossy.connections == 1
            house.kill()
            house.under = bounded_by(bounds, TOLD_SECONDS=0.5, LOST_SECONDS=2.0)
            house.start()
            wait_until(lambda: "acknowledges no" in house.status()["troubles"].get("mqtt", ""))
            lossy.silent = False
            wait_until(lambda: len({topic for topic, *_ in subscriber.messages if "/state/" in topic}) == 2)
            wait_until(lambda: not house.status()["troubles"])
        finally:
            house.kill()


def test_what_a_broker_has_acknowledged_is_not_sent_again_on_another_connection(tmp_path: Path) -> None:
    """The journal was told of acknowledgements every 50 ms, but not of the last ones before a loss."""
    with (
        mosquitto(tmp_path) as broker,
        unacknowledging(broker.port, but_on=b"/result/front") as lossy,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": lossy.url}})
        house.under = bounded_by("dropsight.sinks.mqtt.record_session", ACKNOWLEDGE_SECONDS=1e9)
        try:
            lossy.refusing = True
            house.start()
            for number in (0, 2, 4, 1):  # the last is of the yard
                drop(house, 1, start=number)
                house.until(lambda number=number: f"{number:04}.jpg" in str(logged(house)))  # type: ignore[misc]
            lossy.refusing = False
            wait_until(lambda: house.status()["mqtt"]["published"] == 3)
            lossy.silent = False
            lossy.cut()
            wait_until(lambda: outbox(house) == 0)
            assert len(subscriber.topics("/result/front")) == 3
        finally:
            house.kill()


def unanswering_house(root: Path, url: str) -> House:
    house = House(root, {"mqtt": {"url": url}})
    patience = {"TOLD_SECONDS": 0.3, "LOST_SECONDS": 1.5}
    hasty = ("dropsight.sinks.backoff", {"LONGEST_SECONDS": 0.2})
    house.under = bounded_by("dropsight.sinks.mqtt.record_session", hasty, **patience)
    return house


def drop_one_first(house: House, count: int) -> None:
    drop(house, 1)
    house.until(lambda: len(logged(house)) == 1)
    drop(house, count - 1, start=1)


def test_a_record_that_a_broker_loses_while_it_acknowledges_others_is_told_of_and_sent_again(
    tmp_path: Path,
) -> None:
    """As brokers do that limit the rate: it was sent again when the connection was lost, perhaps in weeks."""
    with (
        mosquitto(tmp_path) as broker,
        unacknowledging(broker.port, but_on=b"/result/yard") as lossy,
        Subscriber(broker.port) as subscriber,
    ):
        house = unanswering_house(tmp_path, lossy.url)
        try:
            house.start()
            drop_one_first(house, 4)
            wait_until(lambda: "but not record 1" in house.status()["troubles"].get("records", ""))
            lossy.silent = False
            all_delivered_in_order(house, subscriber, 4)
            wait_until(lambda: not house.status()["troubles"])
            assert house.status()["mqtt"]["set_aside"] == 0
        finally:
            house.kill()


def test_a_record_that_a_broker_never_acknowledges_is_set_aside_and_named(tmp_path: Path) -> None:
    """All those behind it came again with each connection, without an end."""
    with (
        mosquitto(tmp_path) as broker,
        unacknowledging(broker.port, but_on=b"/result/yard") as lossy,
    ):
        house = unanswering_house(tmp_path, lossy.url)
        try:
            house.start()
            drop_one_first(house, 2)
            wait_until(lambda: house.status()["mqtt"]["set_aside"] == 1)
            wait_until(lambda: outbox(house) == 0)
            assert lossy.connections == 4
        finally:
            house.kill()


def test_a_record_is_not_set_aside_where_those_behind_it_were_only_too_large(tmp_path: Path) -> None:
    """Of these the broker acknowledges none either: it may acknowledge nothing for an hour."""
    with (
        mosquitto(tmp_path, extra="allow_anonymous true\nmax_packet_size 1000\n") as broker,
        unacknowledging(broker.port) as lossy,
    ):
        house = unanswering_house(tmp_path, lossy.url)
        try:
            house.start()
            drop_one_first(house, 1)
            large = house.inbox.joinpath(*["yard" * 60] * 5, "large.jpg")
            large.parent.mkdir(parents=True)
            shutil.copy(PHOTOS[1], large)
            wait_until(lambda: house.status()["mqtt"]["oversized"] >= RECORD_LOSSES)
            tries = lossy.connections
            wait_until(lambda: lossy.connections >= tries + 2)
            lossy.silent = False
            wait_until(lambda: outbox(house) == 0)
            mqtt = house.status()["mqtt"]
            assert (mqtt["published"], mqtt["set_aside"]) == (1, 0)
        finally:
            house.kill()


@pytest.mark.parametrize("reason", [0x97, 0x9F], ids=["quota", "rate"])
def test_what_a_broker_does_not_take_for_now_waits_until_it_does(tmp_path: Path, reason: int) -> None:
    """It was set aside after three tries, record after record, for as long as the quota was used up."""
    with (
        mosquitto(tmp_path) as broker,
        unacknowledging(broker.port, instead=reason) as full,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": full.url}})
        house.under = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.2)
        try:
            house.start()
            drop(house, 3)
            wait_until(lambda: "no records for now: Quota" in house.status()["troubles"].get("mqtt", ""))
            tries = full.connections
            wait_until(lambda: full.connections >= tries + 5)
            full.silent = False
            all_delivered_in_order(house, subscriber, 3)
            assert house.status()["mqtt"]["set_aside"] == 0
        finally:
            house.kill()


@pytest.mark.parametrize("with_records", [False, True])
@PROTOCOLS
def test_nothing_is_set_aside_as_a_broker_hangs_up_soon_after_each_login(
    tmp_path: Path, protocol: str, *, with_records: bool
) -> None:
    """What was on the way then had been alone so often that it was not told for an hour, or never."""
    with (
        mosquitto(tmp_path) as broker,
        leaving(broker.port) as unsteady,
        Subscriber(broker.port, "#") as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": unsteady.url, "protocol": protocol}})
        house.under = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.05)
        try:
            house.start()
            if with_records:
                drop(house, 4)
                house.until(lambda: len(logged(house)) == 4)
            tries = unsteady.connections
            wait_until(lambda: unsteady.connections >= tries + 30)
            unsteady.leaves = False
            wait_until(lambda: house.status()["mqtt"]["connected"])
            drop(house, 2, start=4)
            for part in ("/availability", "/info", "/state/front", "/state/yard", "homeassistant/device/"):
                wait_until(lambda part=part: bool(subscriber.topics(part)), what=part)  # type: ignore[misc]
            wait_until(lambda: outbox(house) == 0)
            wait_until(lambda: not {"announcements", "records"} & house.status()["troubles"].keys())
            mqtt = house.status()["mqtt"]
            assert (mqtt["set_aside"], mqtt["untold"], mqtt["reasons"]) == (0, 0, [])
        finally:
            house.kill()


def test_nothing_is_set_aside_as_a_broker_hangs_up_on_all_that_it_is_sent(tmp_path: Path) -> None:
    """As one whose disk is full may: what it takes again a minute later would have waited for an hour."""
    with (
        mosquitto(tmp_path) as broker,
        hanging_up(broker.port, b"/") as full,
        Subscriber(broker.port, "#") as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": full.url}})
        house.under = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.05)
        try:
            house.start()
            drop(house, 2)
            wait_until(lambda: full.hung_up >= 25)
            assert "disconnected on this; tried again" in house.status()["troubles"]["announcements"]
            full.forbidden = b"\xff"
            for part in ("/availability", "/info", "/state/front", "homeassistant/device/"):
                wait_until(lambda part=part: bool(subscriber.topics(part)), what=part)  # type: ignore[misc]
            wait_until(lambda: outbox(house) == 0)
            wait_until(lambda: not {"announcements", "records"} & house.status()["troubles"].keys())
            mqtt = house.status()["mqtt"]
            assert (mqtt["published"], mqtt["set_aside"], mqtt["untold"]) == (2, 0, 0)
        finally:
            house.kill()


def not_taken_for_a_while(house: House, way: Proxy) -> None:
    """Have three cameras' records tried by turns."""
    drop(house, 5)
    drop(house, 1, start=5, camera="gate")
    house.until(lambda: len(logged(house)) == 6)
    tries = way.connections
    wait_until(lambda: way.connections >= tries + 12)
    assert house.status()["mqtt"]["set_aside"] == 0


def all_arrive_once(house: House, subscriber: Subscriber, count: int) -> None:
    wait_until(lambda: house.status()["mqtt"]["published"] == count)
    wait_until(lambda: len(by_id(published(subscriber))) == count)
    assert len(published(subscriber)) == count
    assert house.status()["mqtt"]["set_aside"] == 0
    wait_until(lambda: not {"mqtt", "records"} & house.status()["troubles"].keys())


def test_records_wait_while_a_broker_s_rules_forbid_all_of_them_and_nothing_else(tmp_path: Path) -> None:
    """One after the other was set aside, though none was at fault."""
    rules = tmp_path / "acl"
    kinds = ("availability", "info", "stats", "state/#", "problem/#")
    rules.write_text("topic read #\n" + "".join(f"topic write dropsight/test/{kind}\n" for kind in kinds))
    with (
        mosquitto(tmp_path, extra=f"allow_anonymous true\nacl_file {rules}\n") as broker,
        proxy(broker.port) as way,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": way.url, "home_assistant": False}})
        house.under = SHORT
        try:
            house.start()
            not_taken_for_a_while(house, way)
            wait_until(lambda: "Not authorized" in house.status()["troubles"].get("mqtt", ""))
            wait_until(lambda: bool(subscriber.topics("/state/")))
            rules.write_text("topic readwrite #\n")
            broker.signal(signal.SIGHUP)
            all_arrive_once(house, subscriber, 6)
        finally:
            house.kill()


@PROTOCOLS
def test_records_wait_while_a_broker_hangs_up_on_all_of_them_and_on_nothing_else(
    tmp_path: Path, protocol: str
) -> None:
    with (
        mosquitto(tmp_path) as broker,
        hanging_up(broker.port, b"/result/") as strict,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": strict.url, "protocol": protocol, "home_assistant": False}})
        house.under = SHORT
        try:
            house.start()
            not_taken_for_a_while(house, strict)
            strict.forbidden = b"\xff"
            all_arrive_once(house, subscriber, 6)
        finally:
            house.kill()


@PROTOCOLS
def test_records_get_on_where_a_broker_often_hangs_up(tmp_path: Path, protocol: str) -> None:
    """The pauses grew with each loss, though records had been taken on the connection that was lost."""
    with (
        mosquitto(tmp_path) as broker,
        often_hanging_up(broker.port) as unsteady,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": unsteady.url, "protocol": protocol}})
        house.under = bounded_by("dropsight.sinks.backoff", FIRST_SECONDS=0.2)
        try:
            house.start()
            drop(house, 120)
            all_delivered_in_order(house, subscriber, 120)
            assert house.status()["mqtt"]["set_aside"] == 0
        finally:
            house.kill()


def test_records_get_on_where_a_broker_that_acknowledges_them_alone_has_hung_up(tmp_path: Path) -> None:
    """Each announcement that may have been the cause was waited for, and the records for all of them."""
    with (
        mosquitto(tmp_path) as broker,
        unacknowledging(broker.port, but_on=b"/result/") as lossy,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": lossy.url}) as house,
    ):
        drop(house, 10)
        all_delivered_in_order(house, subscriber, 10)
        lossy.cut()
        wait_until(lambda: lossy.connections == 2)
        drop(house, 190, start=10)
        all_delivered_in_order(house, subscriber, 200)
        assert lossy.connections == 2


@pytest.mark.slow
def test_where_a_broker_of_an_earlier_version_takes_another_s_place_it_is_spoken_to_by_that(
    tmp_path: Path,
) -> None:
    """What one broker spoke was kept for as long as the daemon ran, whatever stood there later."""
    with mosquitto(tmp_path) as broker, of_an_earlier_version(broker.port) as place:
        watch = [{"path": "inbox", "mqtt": "cams/+"}]
        with running(tmp_path, mqtt={"url": place.url}, watch=watch) as house:

            def connections(found: dict[str, Any]) -> list[dict[str, Any]]:
                return [found["mqtt"], *found["sources"]]

            def all_connected(version: str) -> bool:
                found = house.status()
                return bool(
                    (found["mqtt"]["connected"], found["mqtt"]["protocol"]) == (True, version)
                    and not found["troubles"]
                    and f"images over MQTT: connected to {place.url} (MQTT {version})" in house.daemon_log()
                )

            wait_until(lambda: all_connected("5"))
            place.old = place.refusing = True
            wait_until(lambda: not any(each["connected"] for each in connections(house.status())))
            place.refusing = False
            drop(house, 1)
            wait_until(lambda: all_connected("3.1.1") and outbox(house) == 0)
            place.old, place.refusing = False, True
            wait_until(
                lambda: all(
                    HUNG_UP in house.status()["troubles"].get(part, "") for part in ("mqtt", "arrivals")
                )
            )
            place.refusing = False
            wait_until(lambda: all_connected("5"))


@pytest.mark.slow
@pytest.mark.parametrize("hangs_up", [False, True], ids=["silent", "hangs up"])
def test_a_broker_that_stood_still_at_the_first_question_is_spoken_to_by_the_version_that_it_has(
    tmp_path: Path, *, hangs_up: bool
) -> None:
    """It was spoken to by MQTT 3.1.1 ever after, in which what its rules forbid is lost without a word."""
    with mosquitto(tmp_path) as broker, about_to_start(broker.port, hangs_up=hangs_up) as place:
        house = House(tmp_path, {"mqtt": {"url": place.url}, "watch": [{"path": "inbox", "mqtt": "cams/+"}]})
        seconds = 60.0 if hangs_up else 5.0  # a busy machine takes long to answer
        house.under = bounded_by(
            "dropsight.sinks.mqtt.connection", CONNACK_SECONDS={"5": seconds, "3.1.1": seconds + 3}
        )
        try:
            house.start()
            wait_until(lambda: house.status()["mqtt"]["connected"] and not house.status()["troubles"])
            assert house.status()["mqtt"]["protocol"] == "5"
            wait_until(lambda: f"images over MQTT: connected to {place.url} (MQTT 5)" in house.daemon_log())
            assert "(MQTT 3.1.1)" not in house.daemon_log()
        finally:
            house.kill()


@pytest.mark.slow
def test_images_come_from_a_broker_that_hangs_up_on_mqtt_5_and_has_lost_their_session(tmp_path: Path) -> None:
    """As it is asked once more for MQTT 5, the session that it has by then is of a moment ago."""
    with mosquitto(tmp_path) as broker, of_an_earlier_version(broker.port) as place:
        place.old = place.hangs_up = True
        watch = [{"path": "inbox", "mqtt": "cams/+"}]
        with (
            running(tmp_path, mqtt={"url": place.url}, watch=watch) as house,
            Subscriber(broker.port) as sender,
        ):

            def arrives(number: int) -> bool:
                sender.publish("cams/front", PHOTOS[number].read_bytes())
                wait_until(lambda: len(logged(house)) == number, what="its record")
                return True

            def are_subscribed(times: int) -> bool:
                return house.daemon_log().count("subscribed to cams/+") == times

            wait_until(lambda: are_subscribed(1))
            assert arrives(1)
            broker.kill()
            wait_until(lambda: HUNG_UP in house.status()["troubles"].get("arrivals", ""))
            broker.start()
            wait_until(lambda: are_subscribed(2))
            assert arrives(2)


@pytest.mark.slow
def test_a_broker_that_does_not_answer_any_more_is_not_said_to_be_of_another_version(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, proxy(broker.port) as way:
        house = House(tmp_path, {"mqtt": {"url": way.url}})
        house.under = bounded_by("dropsight.sinks.mqtt.connection", CONNACK_SECONDS={"5": 1.0, "3.1.1": 1.0})
        try:
            house.start()
            wait_until(lambda: house.status()["mqtt"]["connected"])
            broker.signal(signal.SIGSTOP)
            way.cut()
            wait_until(lambda: "no CONNACK" in house.status()["troubles"].get("mqtt", ""))
            broker.signal(signal.SIGCONT)
            wait_until(lambda: house.status()["mqtt"]["connected"] and not house.status()["troubles"])
            assert house.status()["mqtt"]["protocol"] == "5"
            assert "does not support" not in house.daemon_log()
        finally:
            house.kill()
