"""Brokers that take less than ours do: short messages, no retained ones, no acknowledged ones, few topics."""

import json
import logging
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from brokers import Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, bounded_by, dropsight, running
from dropsight.journal.outbox import Delivery
from dropsight.records import Status
from dropsight.sinks.mqtt.announcing import Unpublished, fitted
from dropsight.sinks.mqtt.in_flight import InFlight
from dropsight.sinks.mqtt.other_records import OtherRecords
from dropsight.sinks.mqtt.suspects import (
    FEW_OF_A_KIND,
    HELD_LOSSES,
    RECORD_LOSSES,
    RECORD_WAITS,
    SuspectMessages,
)
from dropsight.status.troubles import Troubles
from proxies import hanging_up

pytestmark = pytest.mark.broker

FORBIDDEN = {
    "publish": (b"homeassistant/device/", "homeassistant/#"),
    "subscribe": (b"homeassistant/status", "subscribing to homeassistant/status"),
    "unacknowledged": (b"dropsight/test/stats", "dropsight/test/stats"),
}
PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def drop(house: House, count: int, *, camera: str = "front") -> None:
    (house.inbox / camera).mkdir(exist_ok=True)
    for number in range(count):
        shutil.copy(PHOTOS[number % len(PHOTOS)], house.inbox / camera / f"{number:04}.jpg")


def paths(subscriber: Subscriber) -> set[str]:
    return {json.loads(payload)["image_path"] for payload in subscriber.topics("/result/")}


@pytest.mark.slow
@PROTOCOLS
def test_a_broker_of_short_messages_gets_the_records_and_what_else_fits(
    tmp_path: Path, protocol: str
) -> None:
    extra = "allow_anonymous true\nmax_packet_size 2500\n"
    with (
        mosquitto(tmp_path, extra=extra) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url, "protocol": protocol}) as house,
    ):
        drop(house, 5)
        wait_until(lambda: len(paths(subscriber)) == 5)
        wait_until(lambda: subscriber.topics("/availability")[-1:] == [b"online"])
        if protocol == "5":
            wait_until(lambda: bool(subscriber.topics("/state/front")))
            wait_until(lambda: bool(subscriber.topics("/stats")))
            info = json.loads(subscriber.topics("/info")[-1])
            assert "labels" in info["left_out"]
            assert "counters" in json.loads(subscriber.topics("/stats")[-1])
        drop(house, 2, camera="back")
        wait_until(lambda: len(paths(subscriber)) == 7)
        wait_until(lambda: house.status()["mqtt"]["published"] == 7)
        mqtt = house.status()["mqtt"]
        assert (mqtt["oversized"], mqtt["set_aside"]) == (0, 0)
        wait_until(lambda: "mqtt" not in house.status()["troubles"])


@pytest.mark.slow
def test_records_that_are_too_large_are_said_and_counted_and_are_not_published(tmp_path: Path) -> None:
    extra = "allow_anonymous true\nmax_packet_size 400\n"
    with mosquitto(tmp_path, extra=extra) as broker, running(tmp_path, mqtt={"url": broker.url}) as house:
        drop(house, 3)
        wait_until(lambda: house.status()["mqtt"]["oversized"] == 3)
        wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)
        assert house.status()["mqtt"]["published"] == 0
        assert "in the log, not on MQTT" in house.status()["troubles"]["records"]
        shown = dropsight("status", "-c", str(house.config)).stdout
        assert "0 published" in shown
        assert "3 too large for it" in shown


def test_a_broker_of_1000_bytes_gets_every_record_without_what_is_least_needed(tmp_path: Path) -> None:
    extra = "allow_anonymous true\nmax_packet_size 1000\n"
    with (
        mosquitto(tmp_path, extra=extra) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        drop(house, 5)
        wait_until(lambda: len(paths(subscriber)) == 5)
        wait_until(lambda: house.status()["mqtt"]["published"] == 5)
        logged = {record["id"]: record for record in house.records()}
        for record in map(json.loads, subscriber.topics("/result/")):
            left_out = set(record.pop("left_out", []))
            assert left_out <= {"top_5_predictions", "groups", "model"}
            whole = logged[record["id"]]
            assert record == {key: each for key, each in whole.items() if key not in left_out}
            assert record.keys() >= {"label", "confidence", "predictions", "image_path"}


@pytest.mark.slow
def test_one_record_that_a_broker_hangs_up_on_is_set_aside_and_those_after_it_arrive(tmp_path: Path) -> None:
    """In MQTT 3.1.1 no broker says how large a message may be."""
    extra = "allow_anonymous true\nmax_packet_size 2500\n"
    with mosquitto(tmp_path, extra=extra) as broker, Subscriber(broker.port) as subscriber:
        house = House(tmp_path, {"mqtt": {"url": broker.url, "protocol": "3.1.1", "home_assistant": False}})
        folder = house.inbox / ("x" * 200) / ("y" * 200)
        for _ in range(7):
            folder /= "z" * 200
        folder.mkdir(parents=True)
        shutil.copy(PHOTOS[0], folder / "long.jpg")
        house.start()
        try:
            wait_until(lambda: house.finished() == 1)
            drop(house, 3)
            wait_until(lambda: len(paths(subscriber)) == 3)
            wait_until(lambda: house.status()["mqtt"]["published"] == 3)  # the broker has yet to say so
            assert house.status()["mqtt"]["set_aside"] == 1
            assert "is set aside" in house.daemon_log()
        finally:
            house.kill()


@pytest.mark.parametrize("why", ["too large", "forbidden"])
def test_a_camera_whose_record_and_state_a_broker_hangs_up_on_holds_up_no_other(
    tmp_path: Path, why: str
) -> None:
    """Its record waited for a connection that lasts, and its state ended each before."""
    zoo = "/".join(["zoo", *["z" * 200] * 9])
    with (
        mosquitto(tmp_path, extra="allow_anonymous true\nmax_packet_size 2500\n") as broker,
        hanging_up(broker.port, b"/zoo" if why == "forbidden" else b"\xff") as middle,
        Subscriber(broker.port, "#") as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": middle.url, "protocol": "3.1.1"}})
        house.under = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.2)
        try:
            house.start()
            for camera in ("back", "front", "yard"):
                drop(house, 1, camera=camera)
            for camera in ("back", "front", "yard"):
                wait_until(lambda camera=camera: bool(subscriber.topics(f"/state/{camera}")))  # type: ignore[misc]
            (house.inbox / zoo).mkdir(parents=True)
            shutil.copy(PHOTOS[0], house.inbox / zoo / "x.jpg")
            house.until(lambda: len(house.records()) == 4)
            drop(house, 3, camera="late")
            wait_until(lambda: len(paths(subscriber)) == 6)
            wait_until(lambda: bool(subscriber.topics("/state/late")))
            wait_until(lambda: house.status()["mqtt"]["reasons"] != [], what="it is said")
            wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)
            assert house.status()["mqtt"]["set_aside"] == 1
            assert "record 4 is set aside" in house.daemon_log()
            wait_until(lambda: any("/state/zoo" in each for each in house.status()["mqtt"]["reasons"]))
        finally:
            house.kill()


@pytest.mark.slow
@pytest.mark.parametrize("forbidden", FORBIDDEN)
@PROTOCOLS
def test_a_broker_that_hangs_up_on_a_forbidden_topic_gets_all_else(
    tmp_path: Path, protocol: str, forbidden: str
) -> None:
    """As RabbitMQ and aedes do."""
    part, named = FORBIDDEN[forbidden]
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "#") as subscriber,
        hanging_up(broker.port, part) as middle,
        running(tmp_path, mqtt={"url": middle.url, "protocol": protocol}) as house,
    ):
        drop(house, 5)
        wait_until(lambda: len(paths(subscriber)) == 5)
        wait_until(lambda: named in house.status()["troubles"].get("announcements", ""))
        wait_until(lambda: subscriber.topics("/availability")[-1:] == [b"online"])
        wait_until(lambda: bool(subscriber.topics("/stats")) is (forbidden != "unacknowledged"))
        wait_until(lambda: "mqtt" not in house.status()["troubles"])
        subscriber.publish("dropsight/test/command", b'{"command": "rescan"}')
        wait_until(lambda: bool(subscriber.topics("/command/response")))
        losses = middle.hung_up
        drop(house, 5, camera="back")
        wait_until(lambda: len(paths(subscriber)) == 10)
        assert house.status()["mqtt"]["connected"]
        wait_until(lambda: bool(subscriber.topics("/state/back")))
        assert middle.hung_up == losses


@pytest.mark.slow
def test_without_home_assistant_nothing_is_published_below_its_topics(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        settings = {"url": broker.url, "home_assistant": False}
        for count in (1, 2):  # a second start knows that there was a first
            with running(tmp_path, mqtt=settings) as house:
                drop(house, 1, camera=f"camera{count}")
                wait_until(lambda count=count: len(paths(subscriber)) == count)  # type: ignore[misc]
                wait_until(lambda: subscriber.topics("/availability")[-1] == b"online")
                house.stop()
        assert not subscriber.topics("homeassistant/")


@pytest.mark.parametrize("extra", ["retain_available false", "max_qos 0"])
@PROTOCOLS
def test_what_a_broker_does_not_offer_is_done_without_and_said_once(
    tmp_path: Path, protocol: str, extra: str
) -> None:
    with (
        mosquitto(tmp_path, extra=f"allow_anonymous true\n{extra}\n") as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url, "protocol": protocol}) as house,
    ):
        wait_until(lambda: house.status()["mqtt"]["connected"])
        drop(house, 5)
        wait_until(lambda: len(paths(subscriber)) == 5)
        wait_until(lambda: house.status()["mqtt"]["published"] == 5)
        assert house.daemon_log().count(": continuing without") == 1


@pytest.mark.slow
def test_600_cameras_reach_a_broker_of_small_packets(tmp_path: Path) -> None:
    extra = "allow_anonymous true\nmax_packet_size 100000\n"
    with (
        mosquitto(tmp_path, extra=extra) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        for number in range(600):
            folder = house.inbox / f"camera {number:03}"
            folder.mkdir()
            (folder / "x.jpg").write_bytes(b"no picture")
        wait_until(lambda: len(set(subscriber.topics("/failure/"))) == 600)
        wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)
        status = house.status()
        assert status["mqtt"]["published"] == 600
        assert not {"mqtt", "announcements", "records"} & status["troubles"].keys()


@pytest.mark.parametrize(
    ("payload", "room", "left"),
    [
        (b'{"a":1}', 7, {"a": 1}),
        (b'{"a":1,"b":"xxxxxxxxxxxxxxxxxxxxxxxx"}', 26, {"a": 1, "left_out": ["b"]}),
        (b'{"a":1,"b":"xxxxxxxxxxxxxxxxxxxxxxxx"}', 20, None),
        (b'{"a":{"b":"xxxxxxxxxxxxxxxxxxxxxxxxxxx","c":1}}', 40, {"a": {"c": 1}, "left_out": ["a.b"]}),
    ],
)
def test_a_message_is_made_to_fit_and_says_what_it_leaves_out(
    payload: bytes, room: int, left: object
) -> None:
    found = fitted(payload, room, ["a.b", "b"])
    assert (found and json.loads(found)) == left


class Looked(dict[str, int]):
    """Counts how many of it were looked at."""

    looks = 0

    def items(self) -> Iterator[tuple[str, int]]:  # type: ignore[override]
        for item in super().items():
            self.looks += 1
            yield item


def test_what_ten_thousand_cameras_do_not_get_told_is_not_gone_through_at_each() -> None:
    """A broker of tiny packets had it be sorted anew for every camera: minutes in all."""
    troubles = Troubles(logging.getLogger("test"))
    untold = Unpublished(SuspectMessages(), troubles, too_large=Looked())
    for number in range(10_000):
        untold.too_large[f"t/{number}"] = number
        untold.say()
    assert isinstance(untold.too_large, Looked)
    assert untold.too_large.looks < 100_000
    assert "; and 9992 more" in troubles.current()["announcements"]
    untold.too_large.clear()
    untold.say()
    assert not troubles.any()


def flight(suspects: SuspectMessages, *keys: str | int) -> InFlight:
    found = InFlight(suspects)
    for number, key in enumerate(keys):
        found.began(number, key)
    return found


def test_only_what_was_alone_when_a_connection_was_lost_is_set_aside() -> None:
    suspects = SuspectMessages()
    for _ in range(9):
        assert flight(suspects, "a", "b", 7).lost() == []
    assert [flight(suspects, "a").lost() for _ in range(HELD_LOSSES + 1)] == [[], [], ["a"]]
    assert suspects.rests("a")
    assert not suspects.rests("b")


def test_what_was_alone_twice_is_sent_again_once_the_broker_takes_another_and_is_at_fault_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else every message had its turn to be set aside, by a broker that hangs up whatever it is sent."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    suspects = SuspectMessages()

    def alone(key: str) -> object:
        found = flight(suspects, key)
        now[0] += 3.0
        return found.lost()

    assert [alone(key) for key in "aabbcc"] == [[]] * 6
    for key in "abcab":
        found = InFlight(suspects)
        assert all(found.is_held(each) for each in "abc")
        assert found.seconds_to_release() == 6.0
        now[0] += 6.0
        assert found.release()
        assert [each for each in "abc" if not found.is_held(each)] == [key], "by turns, while none is taken"
        assert found.seconds_to_release() == 0.0, "one that nobody tells any more holds up no other"
        found.began(1, key)
        assert found.lost() == []
    found = InFlight(suspects)
    assert all(found.is_held(each) for each in "abc")
    found.began(1, "another")
    found.ended([1])
    now[0] += 6.0
    assert not any(found.is_held(each) for each in "abc")
    found.began(2, "a")
    assert found.lost() == ["a"]
    assert not suspects.rests("b")


def test_a_record_that_is_held_back_goes_first_where_no_connection_lasts_though_others_are_taken() -> None:
    suspects = SuspectMessages()

    def connection(*, takes_others: bool) -> tuple[bool, object]:
        found = InFlight(suspects)
        if goes_first := not found.is_held(7):
            found.began(1, 7)
        elif takes_others:
            found.began(2, "another")
            found.ended([2])
        found.waited()
        return goes_first, found.lost()

    assert [connection(takes_others=False) for _ in range(HELD_LOSSES)] == [(True, [])] * HELD_LOSSES
    assert not any(connection(takes_others=False)[0] for _ in range(5 * RECORD_WAITS)), "all is hung up on"
    known = [suspects.known]
    for _ in range(RECORD_WAITS):
        assert connection(takes_others=True) == (False, [])
        known.append(suspects.known)
    assert all(one != next_one for one, next_one in pairwise(known)), "no pause grows meanwhile"
    for _ in range(RECORD_LOSSES):
        assert connection(takes_others=False) == (True, []), "no record is taken"
        assert connection(takes_others=False) == (False, [])
        assert connection(takes_others=True) == (False, [])
    suspects.went_ahead({9: "front"})
    assert connection(takes_others=False) == (True, [7])
    assert suspects.is_aside(7)


class Waiting:
    """An outbox of one record for each of these cameras."""

    def __init__(self, *cameras: str) -> None:
        self._all = [Delivery(seq, camera, "ok", b"") for seq, camera in enumerate(cameras, 1)]

    def have(self, seq: int, status: Status) -> None:
        self._all[seq - 1] = Delivery(seq, self._all[seq - 1].camera, status, b"")

    def pending(self, after: int, limit: int) -> list[Delivery]:
        return self._all[after : after + limit]

    def acknowledge(self, seq: int) -> None: ...

    def acknowledged(self) -> int:
        return 0


def test_behind_a_record_that_is_held_back_one_of_each_camera_is_offered_its_own_last() -> None:
    """And at every other connection the one itself, whose rules may have been put right alone."""
    outbox = Waiting("front", "front", "yard", "yard", "gate", "front")
    others = OtherRecords(outbox, SuspectMessages())
    (held,) = outbox.pending(0, 1)
    offered = [others.next_behind(held) for _ in range(14)]
    assert offered[1::2] == [None] * 7
    assert [each and each.seq for each in offered[::2]] == [3, 5, 2, 3, 5, 2, 3]
    assert others.known == 3
    assert OtherRecords(Waiting("front"), SuspectMessages()).next_behind(held) is None


def test_behind_a_record_that_is_held_back_one_of_each_other_status_is_offered_first() -> None:
    """Where rules leave out one status, and many cameras have such a record, each was offered before."""
    outbox = Waiting("front", "yard", "gate", "shed", "door")
    outbox.have(4, "failed")
    others = OtherRecords(outbox, SuspectMessages())
    (held,) = outbox.pending(0, 1)
    offered = [others.next_behind(held) for _ in range(8)]
    assert [each and each.seq for each in offered[::2]] == [4, 2, 3, 5]


def of_a_kind(topic: str) -> str:
    return f"{topic.partition('/')[0]}/#"


def test_one_topic_of_a_kind_is_at_fault_where_the_broker_takes_others_of_it_and_else_all() -> None:
    suspects = SuspectMessages(of_a_kind)
    for others, gone in ((["state/good"], "state/bad"), ([], "problem/#")):
        bad = gone.replace("#", "bad")
        for last in [[], [], [gone]]:
            found = flight(suspects, *others)
            found.ended([0])
            found.began(9, suspects.key_of(bad))
            assert found.lost() == last
    assert suspects.key_of("state/good") == "state/good"
    assert not suspects.rests("state/good")
    assert suspects.rests(suspects.key_of("problem/good"))


def test_a_kind_that_a_broker_forbids_is_one_suspect_after_a_few_cameras_not_after_thousands() -> None:
    suspects = SuspectMessages(of_a_kind)
    losses = 0
    for number in range(1_000):
        while not (found := InFlight(suspects)).is_held(key := suspects.key_of(f"state/{number}")):
            found.began(1, key)
            found.lost()
            losses += 1
    assert losses == HELD_LOSSES * FEW_OF_A_KIND
    assert suspects.held == ["state/#"]
    suspects.passed("state/#")
    assert suspects.key_of("state/7") == "state/7"


def test_a_record_is_set_aside_only_at_several_losses_in_a_row() -> None:
    suspects = SuspectMessages()

    def alone() -> object:
        found = flight(suspects, 6)
        found.ended([0])
        found.began(1, 7)
        return found.lost()

    assert [alone() for _ in range(RECORD_LOSSES - 1)] == [[]] * (RECORD_LOSSES - 1)
    flight(suspects, 7).ended([0])
    assert [alone() for _ in range(RECORD_LOSSES)] == [*[[]] * (RECORD_LOSSES - 1), [7]]
    assert suspects.is_aside(7)


def test_what_is_not_acknowledged_has_passed_once_something_later_has() -> None:
    suspects = SuspectMessages()
    found = flight(suspects, "before")
    found.began_silently(7, "stats")
    found.began_silently(8, "stats")
    assert len(found) == 1
    found.ended([8, 0])  # the client calls what it has sent acknowledged
    assert found.lost() == []
    assert suspects.suspects("stats")
    found = flight(suspects, "before")
    found.began_silently(7, "stats")
    found.began(9, "after")
    found.ended([9])
    assert found.lost() == []
    assert not suspects.suspects("stats")


@pytest.mark.slow
def test_a_record_that_the_broker_refuses_is_set_aside_and_named_and_all_others_arrive(
    tmp_path: Path,
) -> None:
    """In MQTT 5 a broker says no, and hangs up all the same as this one, or does not."""
    acl = tmp_path / "acl"
    kinds = ("availability", "info", "stats", "state/#", "problem/#", "result/front", "result/back")
    writable = "".join(f"topic write dropsight/test/{kind}\n" for kind in kinds)
    acl.write_text(f"topic read #\n{writable}")
    with (
        mosquitto(tmp_path, extra=f"allow_anonymous true\nacl_file {acl}\n") as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url, "home_assistant": False}) as house,
    ):
        drop(house, 1, camera="secret")
        wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 1)
        drop(house, 3)
        wait_until(lambda: len(paths(subscriber)) == 3)
        wait_until(lambda: house.status()["mqtt"]["set_aside"] == 1)
        drop(house, 3, camera="back")
        wait_until(lambda: len(paths(subscriber)) == 6)
        wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)
        assert "record 1 is set aside" in house.daemon_log()
        assert len(subscriber.topics("/result/")) == 6


@pytest.mark.slow
def test_a_broker_of_128_kib_gets_everything_of_120_cameras(tmp_path: Path) -> None:
    """As AWS IoT takes them."""
    extra = "allow_anonymous true\nmax_packet_size 131072\n"
    cameras = [f"camera{number:03}" for number in range(120)]
    with (
        mosquitto(tmp_path, extra=extra) as broker,
        Subscriber(broker.port, "#") as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        for camera in cameras:
            drop(house, 1, camera=camera)
        wait_until(lambda: len(paths(subscriber)) == len(cameras))
        for part in ("dropsight/test/state/", "homeassistant/device/dropsight_test/camera"):
            wait_until(lambda part=part: len(named(subscriber, part)) >= len(cameras), what=part)  # type: ignore[misc]
        mqtt = house.status()["mqtt"]
        assert (mqtt["oversized"], mqtt["set_aside"], mqtt["untold"]) == (0, 0, 0)
        assert "left_out" not in json.loads(subscriber.topics("/info")[-1])
        assert "connection lost" not in house.daemon_log()


def named(subscriber: Subscriber, part: str) -> set[str]:
    return {topic for topic, _, _ in list(subscriber.messages) if part in topic}
