"""A broker whose rules forbid the records of one camera."""

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, bounded_by
from dropsight.sinks.mqtt import forbidden
from dropsight.sinks.mqtt.forbidden import (
    FEW,
    FIRST_REST_SECONDS,
    LONGEST_REST_SECONDS,
    MANY_CAMERAS,
    MANY_DOUBTED,
    TRIAL_SECONDS,
    ForbiddenTopics,
)
from dropsight.sinks.mqtt.in_flight import JUST_NOW_SECONDS, InFlight
from dropsight.sinks.mqtt.suspects import HELD_LOSSES, SUBSCRIBING, SuspectMessages
from proxies import Proxy, hanging_up, pretending, proxy, saying_no

pytestmark = pytest.mark.broker

TOPIC, OTHER = ("ok", "secret"), ("failed", "secret")
KINDS = ("availability", "info", "stats", "state/#", "problem/#", "result/front")
RULES = "topic read #\n" + "".join(f"topic write dropsight/test/{kind}\n" for kind in KINDS)
LATER = 20


class Drops:
    """Files of names that were not there before."""

    def __init__(self, house: House) -> None:
        self._house, self._count = house, 0

    def drop(self, camera: str, *, count: int = 1) -> None:
        (self._house.inbox / camera).mkdir(exist_ok=True)
        for _ in range(count):
            self._count += 1
            shutil.copy(PHOTOS[0], self._house.inbox / camera / f"{self._count:04}.jpg")


def set_aside(house: House) -> int:
    return int(house.status()["mqtt"]["set_aside"])


def make_it_known(house: House, drops: Drops) -> None:
    """Each is tried again and again, as long as nobody knows that it is all of this camera's."""
    for number in range(FEW):
        drops.drop("secret")
        house.until(lambda number=number: house.finished() == 2 * number + 1)  # type: ignore[misc]
        drops.drop("front")
        wait_until(lambda number=number: set_aside(house) == number + 1)  # type: ignore[misc]
        house.until(lambda number=number: house.finished() == 2 * number + 2)  # type: ignore[misc]


@contextmanager
def forbidding(tmp_path: Path, **bounds: float) -> Iterator[tuple[House, Path, Mosquitto, Subscriber, Proxy]]:
    rules = tmp_path / "acl"
    rules.write_text(RULES)
    with (
        mosquitto(tmp_path, extra=f"allow_anonymous true\nacl_file {rules}\n") as broker,
        proxy(broker.port) as way,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": way.url, "home_assistant": False}})
        house.under = bounded_by("dropsight.sinks.mqtt.forbidden", **bounds)
        try:
            house.start()
            yield house, rules, broker, subscriber, way
        finally:
            house.kill()


@pytest.mark.slow
def test_once_a_broker_has_refused_some_records_of_a_camera_the_others_cost_no_connection(
    tmp_path: Path,
) -> None:
    """Each had all records wait for five seconds."""
    with forbidding(tmp_path) as (house, _, _, subscriber, way):
        drops = Drops(house)
        make_it_known(house, drops)
        connections = way.connections
        drops.drop("secret", count=LATER)
        drops.drop("front")
        wait_until(lambda: set_aside(house) == FEW + LATER)
        wait_until(lambda: len(subscriber.topics("/result/front")) == FEW + 1)
        assert way.connections == connections
        wait_until(lambda: "no records of some kind of secret" in house.status()["troubles"]["records"])


@pytest.mark.slow
def test_once_the_rules_are_put_right_a_camera_s_records_arrive_again(tmp_path: Path) -> None:
    short = {"FIRST_REST_SECONDS": 0.5, "LONGEST_REST_SECONDS": 0.5}
    with forbidding(tmp_path, **short) as (house, rules, broker, subscriber, _):
        drops = Drops(house)
        make_it_known(house, drops)
        rules.write_text("topic readwrite #\n")
        broker.signal(signal.SIGHUP)
        wait_until(lambda: taken(house, drops, subscriber))
        wait_until(lambda: "records" not in house.status()["troubles"])
        arrived = len(subscriber.topics("/result/"))
        wait_until(lambda: arrived + set_aside(house) == len(house.records()))


def taken(house: House, drops: Drops, subscriber: Subscriber) -> bool:
    """Whether the broker knows its new rules by now."""
    done = house.finished()
    drops.drop("secret")
    house.until(lambda: house.finished() == done + 1)
    wait_until(lambda: house.status()["stats"]["queues"]["outbox"] == 0)
    return bool(subscriber.topics("/result/secret"))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_hangs_up_on_a_camera_s_records_is_not_offered_the_next_ones(
    tmp_path: Path, protocol: str
) -> None:
    with (
        mosquitto(tmp_path) as broker,
        hanging_up(broker.port, b"/result/secret") as strict,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": strict.url, "protocol": protocol, "home_assistant": False}})
        house.under = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.2)
        try:
            house.start()
            drops = Drops(house)
            make_it_known(house, drops)
            hung_up = strict.hung_up
            drops.drop("secret", count=LATER)
            drops.drop("front")
            wait_until(lambda: set_aside(house) == FEW + LATER)
            wait_until(lambda: len(subscriber.topics("/result/front")) == FEW + 1)
            assert strict.hung_up == hung_up
        finally:
            house.kill()


@pytest.mark.slow
def test_a_refusal_of_a_forbidden_record_that_is_offered_before_its_turn_ends_nothing(tmp_path: Path) -> None:
    """Nothing else was on the way then: it was an internal error."""
    (rules := tmp_path / "acl").write_text(RULES)
    with (
        mosquitto(tmp_path, extra=f"allow_anonymous true\nacl_file {rules}\n") as broker,
        hanging_up(broker.port, b"/result/bad") as strict,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": strict.url, "protocol": "5", "home_assistant": False}})
        house.under = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.2)
        try:
            house.start()
            drops = Drops(house)
            make_it_known(house, drops)
            for camera in ("bad", "secret", "front"):
                drops.drop(camera)
                house.until(lambda camera=camera: camera in house.records()[-1]["camera"])  # type: ignore[misc]
            wait_until(lambda: len(subscriber.topics("/result/front")) == FEW + 1)
            wait_until(lambda: set_aside(house) == FEW + 2)
            assert "internal error" not in house.daemon_log()
        finally:
            house.kill()


def test_where_a_refusal_costs_a_connection_one_is_tried_again_after_a_while_and_ever_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    topics = ForbiddenTopics()
    for _ in range(FEW - 1):
        topics.set_aside(TOPIC)
    assert TOPIC not in topics
    rests = []
    for _ in range(6):
        for _ in range(20):  # were on the way at once
            topics.set_aside(TOPIC)
        began = now[0]
        while topics.rests(TOPIC):
            now[0] += 1.0
        rests.append(now[0] - began)
    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (FIRST_REST_SECONDS, LONGEST_REST_SECONDS)
    assert OTHER not in topics
    topics.taken(TOPIC)
    assert TOPIC not in topics
    assert topics.fault() is None


def test_what_a_broker_takes_of_no_camera_is_learned_from_some_and_tried_of_one_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broker whose rules leave out bursts cost ten connections for each of 200 cameras."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    topics, good, other = ForbiddenTopics(), ("burst", "good"), ("burst", "other")
    topics.taken(good)
    for number in range(MANY_CAMERAS):
        assert (other in topics) == (number >= FEW)
        assert not topics.rests(other)
        topics.set_aside(("burst", f"{number:02}"))
    assert topics.rests(other)
    assert not topics.rests(good)
    assert not topics.rests(OTHER)
    assert "of status burst, nor of some kind of 00" in str(topics.fault())
    now[0] += FIRST_REST_SECONDS + 1.0
    assert not topics.rests(other)
    topics.set_aside(other)
    assert topics.rests(("burst", "another"))
    topics.taken(good)
    assert not topics.rests(("burst", "another"))
    assert ("burst", "another") not in topics


@pytest.mark.slow
def test_records_of_others_arrive_soon_where_a_broker_takes_none_of_one_status(tmp_path: Path) -> None:
    with forbidding(tmp_path) as (house, _, _, subscriber, way):
        drops, cameras = Drops(house), [f"cam{number:02}" for number in range(2 * MANY_CAMERAS)]
        for camera in cameras:
            (house.inbox / camera).mkdir()
            (house.inbox / camera / "no.jpg").write_bytes(b"no picture")
        while set_aside(house) < len(cameras):
            before = len(subscriber.topics("/result/front"))
            drops.drop("front")
            wait_until(lambda before=before: len(subscriber.topics("/result/front")) > before)  # type: ignore[misc]
        drops.drop("front")
        wait_until(lambda: "status failed" in house.status()["troubles"].get("records", ""))
        assert way.connections < 2 * len(cameras)


def test_what_is_known_of_forbidden_topics_is_bounded_and_forgotten_with_its_camera(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(forbidden, "MOST", 10)
    topics = ForbiddenTopics()
    for number in range(20):
        for _ in range(FEW):
            topics.set_aside(("ok", f"{number:02}"))
    assert topics.cameras == [f"{number:02}" for number in range(10, 20)]
    assert "and 2 more" in str(topics.fault())
    now[0] += 100_000.0
    assert topics.fault() is None


def test_records_arrive_on_a_connection_that_lasts_where_a_broker_refuses_discovery_and_hangs_up(
    tmp_path: Path,
) -> None:
    """Each connection was lost over it anew: records waited longer and longer, and a rival was suspected."""
    with (
        mosquitto(tmp_path) as broker,
        saying_no(broker.port, b"homeassistant/device/") as strict,
        Subscriber(broker.port, "#") as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": strict.url, "protocol": "5"}})
        house.under = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.2)
        try:
            house.start()
            drops = Drops(house)
            drops.drop("front")
            wait_until(
                lambda: "homeassistant/#" in house.status()["troubles"].get("announcements", ""), seconds=30
            )
            wait_until(lambda: bool(subscriber.topics("/state/front")))
            hung_up = strict.hung_up
            drops.drop("front", count=LATER)
            wait_until(lambda: len(subscriber.topics("/result/front")) == 1 + LATER)
            assert strict.hung_up == hung_up
            assert "another client" not in house.daemon_log()
        finally:
            house.kill()


@pytest.mark.slow
def test_a_connection_lasts_in_the_end_where_a_broker_acknowledges_what_it_throws_away_and_hangs_up(
    tmp_path: Path,
) -> None:
    """Each was lost over what had just been acknowledged, and records waited for up to five minutes."""
    kinds = ("/info", "/stats", "/state/#", "/problem/#", "homeassistant/#")
    with (
        mosquitto(tmp_path) as broker,
        pretending(broker.port, b"/result/", b"/availability") as strict,
        Subscriber(broker.port, "#") as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": strict.url, "protocol": "3.1.1"}})
        house.under = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.2)
        try:
            house.start()
            drops = Drops(house)
            for camera in ("front", "yard", "gate", "shed"):
                drops.drop(camera)
            wait_until(lambda: sorted(forbidden_kinds(house)) == sorted(kinds))
            hung_up = strict.hung_up
            drops.drop("front", count=LATER)
            wait_until(lambda: len(subscriber.topics("/result/")) == 4 + LATER)
            assert strict.hung_up == hung_up
        finally:
            house.kill()


@pytest.mark.slow
def test_a_camera_whose_records_a_broker_acknowledges_and_hangs_up_on_costs_no_connection_in_the_end(
    tmp_path: Path,
) -> None:
    """Each had all records wait for a second: where it sent more than one a second, ever longer."""
    kinds = (b"availability", b"info", b"stats", b"state/", b"problem/", b"result/front", b"homeassistant/")
    with (
        mosquitto(tmp_path) as broker,
        pretending(broker.port, *kinds) as strict,
        Subscriber(broker.port) as subscriber,
    ):
        house = House(tmp_path, {"mqtt": {"url": strict.url, "protocol": "3.1.1"}})
        house.under = bounded_by("dropsight.sinks.backoff", LONGEST_SECONDS=0.2)
        try:
            house.start()
            drops, arrived = Drops(house), 0
            while "kind of secret" not in house.status()["troubles"].get("records", ""):
                arrived += 1
                drops.drop("secret")
                drops.drop("front")
                wait_until(lambda arrived=arrived: len(set(subscriber.topics("/result/front"))) == arrived)  # type: ignore[misc]
            hung_up, aside = strict.hung_up, set_aside(house)
            drops.drop("secret", count=LATER)
            drops.drop("front")
            wait_until(lambda: set_aside(house) == aside + LATER)
            wait_until(lambda: len(set(subscriber.topics("/result/front"))) == arrived + 1)
            assert strict.hung_up == hung_up
        finally:
            house.kill()


def test_records_that_are_acknowledged_before_a_loss_are_doubted_only_while_others_are_taken() -> None:
    """Else a broker that hangs up on everything it acknowledges would get none any more."""
    topics, front = ForbiddenTopics(), ("ok", "front")
    for _ in range(9 * FEW):
        topics.doubted(TOPIC)
        topics.doubted(front)
    assert not topics.rests(TOPIC)
    for _ in range(FEW):
        assert not topics.rests(TOPIC)
        topics.taken(front)
        topics.doubted(TOPIC)
    assert topics.rests(TOPIC)
    assert not topics.rests(front)
    topics.taken(TOPIC)
    for _ in range(9):
        topics.doubted(TOPIC)
        topics.taken(TOPIC)
    assert not topics.rests(TOPIC)


def test_of_many_cameras_that_never_had_a_record_taken_one_doubt_is_enough_and_one_at_a_time_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of thirty, each cost three connections, and one more each minute, all in a row."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    topics, front, some = ForbiddenTopics(), ("ok", "front"), []
    for number in range(MANY_DOUBTED + 2):
        topics.taken(front)
        some.append(("ok", f"{number}"))
        topics.doubted(some[-1])
    assert [each for each in some if topics.rests(each)] == some[MANY_DOUBTED - 1 :]
    topics.taken(TOPIC)
    topics.doubted(front)
    assert not topics.rests(front)
    now[0] += FIRST_REST_SECONDS
    one, other = some[-2:]
    assert not topics.rests(one)
    topics.doubted(one)
    assert topics.rests(other)
    now[0] += TRIAL_SECONDS
    assert not topics.rests(other)


def test_a_loss_is_for_a_record_that_was_acknowledged_only_just_after_it_with_nothing_on_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def cause(*, reliable: bool = False, after: float = 0.0, then: str | None = None) -> int | None:
        flight = InFlight(SuspectMessages(), reliable=reliable)
        flight.began(1, 7)
        flight.ended([1])
        if then:
            flight.began(2, then)
        now[0] += after
        return flight.lost_over_acknowledged()

    assert cause() == 7
    assert cause(reliable=True) is None
    assert cause(after=JUST_NOW_SECONDS) is None
    assert cause(then="on the way") is None


def forbidden_kinds(house: House) -> list[str]:
    """What is skipped, and held back no more."""
    reasons = (each.partition(": ") for each in house.status()["mqtt"]["reasons"])
    return [
        topic.removeprefix("dropsight/test") for topic, _, why in reasons if why == "it disconnects on this"
    ]


def test_what_is_acknowledged_as_the_last_before_a_loss_is_at_fault_where_nothing_says_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def losses(*, reliable: bool = False, after: float = 0.0, then: int | None = None) -> list[object]:
        suspects, found = SuspectMessages(), list[object]()
        for _ in range(HELD_LOSSES + 1):
            flight = InFlight(suspects, reliable=reliable)
            for mid, key in ((1, "beside"), (2, "no"), (3, then)):
                if key is not None:
                    flight.began(mid, key)
                    flight.ended([mid])
            now[0] += after
            found += flight.lost()
        assert not suspects.suspects("beside")
        return found

    assert losses() == ["no"]
    assert losses(reliable=True) == []
    assert losses(after=JUST_NOW_SECONDS) == []
    assert losses(then=7) == []


def refused(suspects: SuspectMessages, *keys: str | int, beside: str = "beside") -> InFlight:
    found = InFlight(suspects)
    for number, key in enumerate((*keys, beside)):
        found.began(number, key)
    found.ended(range(len(keys)), refused=range(len(keys)))
    return found


def test_of_what_was_on_the_way_as_a_connection_was_lost_what_was_refused_is_at_fault() -> None:
    suspects = SuspectMessages()
    found = [refused(suspects, "no") for _ in range(HELD_LOSSES)]
    assert [each.lost() for each in found] == [[]] * HELD_LOSSES
    assert suspects.held == ["no"]
    assert not suspects.suspects("beside")
    assert not refused(suspects, "no").is_idle


def test_what_was_refused_is_at_fault_for_no_loss_once_the_broker_has_taken_another() -> None:
    suspects = SuspectMessages()
    found = refused(suspects, "no")
    found.began(8, "yes")
    found.ended([8])
    assert found.lost() == []
    assert suspects.suspects("beside")
    assert not suspects.suspects("no")


def test_a_record_that_was_refused_and_a_subscription_are_no_suspects() -> None:
    suspects = SuspectMessages()
    assert refused(suspects, 7).lost() == []
    assert not suspects.last_record(0)
    assert not suspects.suspects("beside")
    assert refused(suspects, f"{SUBSCRIBING}a").lost() == []
    assert suspects.suspects("beside")


def test_a_loss_at_once_after_an_acknowledgement_is_no_sign_of_another_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mosquitto 2.0.11 acknowledges what it forbids in MQTT 3.1.1, and hangs up."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found = InFlight(SuspectMessages())
    assert found.is_idle
    found.began(1, 7)
    found.ended([1])
    assert not found.is_idle
    now[0] += JUST_NOW_SECONDS
    assert found.is_idle
