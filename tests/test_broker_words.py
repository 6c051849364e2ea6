"""What a broker keeps of us stays true: late last wills, others of our name, connections cut on one side."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from dropsight.config import Mqtt
from dropsight.errors import SinkError
from dropsight.sinks.mqtt.broker import Broker
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.evictions import FEW, SOON_SECONDS, Evictions
from dropsight.sinks.mqtt.incoming import Incoming
from proxies import proxy, taking_over

pytestmark = pytest.mark.broker

PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
AVAILABILITY = "dropsight/test/availability"
OTHER = "another client probably uses the client id yard"


def kept(broker: Mosquitto, topic: str = AVAILABILITY) -> bytes:
    with Subscriber(broker.port, topic) as late:
        wait_until(lambda: bool(late.messages))
        return late.messages[0][1]


def say(broker: Mosquitto, topic: str, payload: bytes) -> None:
    with Subscriber(broker.port, topic) as subscriber:
        subscriber._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)  # noqa: SLF001


def online(house: House) -> bool:
    return bool(house.status()["mqtt"]["connected"])


def name_trouble(house: House) -> str:
    trouble: str = house.status()["troubles"].get("name", "")
    return trouble


@PROTOCOLS
def test_after_a_loss_that_the_broker_does_not_notice_online_is_the_last_word(
    tmp_path: Path, protocol: str
) -> None:
    """Its last will for the old connection comes before the new one speaks, and never after."""
    with (
        mosquitto(tmp_path) as broker,
        proxy(broker.port) as middle,
        Subscriber(broker.port, AVAILABILITY) as heard,
        running(tmp_path, mqtt={"url": middle.url, "protocol": protocol, "keepalive": 5}),
    ):
        wait_until(lambda: heard.topics("availability") == [b"online"])
        middle.cut()
        wait_until(lambda: heard.topics("availability")[1:] == [b"offline", b"online"])
        # Had the broker kept the old connection, its will would come one and a half keepalives after the cut.
        assert middle.connections == 2
        assert kept(broker) == b"online"


@pytest.mark.slow
@PROTOCOLS
def test_a_daemon_killed_and_started_at_once_is_online_and_stays_so(tmp_path: Path, protocol: str) -> None:
    """As after a power cut: the broker has the old connection still."""
    with (
        mosquitto(tmp_path) as broker,
        proxy(broker.port) as middle,
        Subscriber(broker.port, AVAILABILITY) as heard,
    ):
        middle.keeps_the_other_side = True
        house = House(tmp_path, {"mqtt": {"url": middle.url, "protocol": protocol}})
        house.start()
        try:
            wait_until(lambda: online(house))
            wait_until(lambda: heard.topics("availability") == [b"online"])
            house.kill()
            house.start()
            wait_until(lambda: heard.topics("availability")[1:] == [b"offline", b"online"])
        finally:
            house.kill()


@PROTOCOLS
def test_who_calls_a_living_device_offline_is_contradicted(tmp_path: Path, protocol: str) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, AVAILABILITY) as heard,
        running(tmp_path, mqtt={"url": broker.url, "protocol": protocol}),
    ):
        wait_until(lambda: heard.topics("availability") == [b"online"])
        say(broker, AVAILABILITY, b"offline")
        wait_until(lambda: heard.topics("availability")[-2:] == [b"offline", b"online"])
        assert kept(broker) == b"online"


@pytest.mark.slow
def test_two_daemons_of_one_name_both_say_so_until_one_goes_and_the_other_stays_online(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with (
        mosquitto(tmp_path) as broker,
        running(first, mqtt={"url": broker.url}) as one,
        Subscriber(broker.port, AVAILABILITY) as heard,
    ):
        wait_until(lambda: online(one))
        with running(second, mqtt={"url": broker.url}) as other:
            for house in (one, other):
                wait_until(lambda house=house: "two devices with the same name" in name_trouble(house))  # type: ignore[misc]
            assert online(one)
            assert online(other)
            assert one.daemon_log().count("two devices with the same name") == 1
            assert "two devices with the same name" in dropsight("status", "-c", str(one.config)).stdout
            other.stop()
        wait_until(lambda: heard.topics("availability")[-2:] == [b"offline", b"online"])
        wait_until(lambda: not name_trouble(one))
        assert kept(broker) == b"online"


def test_a_flood_of_forged_twins_is_few_lines_and_short_ones(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "dropsight/test/#") as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        wait_until(lambda: bool(subscriber.topics("info")))
        for number in range(500):
            host = f"h{number}" + "x" * 100_000 * (number % 2)
            subscriber.publish("dropsight/test/info", json.dumps({"instance": "x", "host": host}).encode())
        subscriber.publish("dropsight/test/command", b'{"command": "rescan"}')
        wait_until(lambda: bool(subscriber.topics("command/response")))
        assert 0 < house.daemon_log().count("two devices with the same name") < 20
        assert len(house.daemon_log()) < 20_000


def test_an_info_of_any_depth_leaves_the_connection_to_the_broker_alive(tmp_path: Path) -> None:
    """Retained, it would end each connection's thread anew: nothing is heard then, nothing acknowledged."""
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "dropsight/test/#") as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        wait_until(lambda: bool(subscriber.topics("info")))
        subscriber.publish("dropsight/test/info", b'{"x": ' + b"[" * 100_000)
        subscriber.publish("dropsight/test/command", b'{"command": "rescan"}')
        wait_until(lambda: bool(subscriber.topics("command/response")))
        assert "internal error" not in house.daemon_log()


def is_lost(connection: Connection) -> bool:
    try:
        connection.acknowledged(timeout=0.1)
    except SinkError:
        return True
    return False


@pytest.mark.parametrize("waits", [False, True])
def test_a_bug_in_what_is_called_on_the_way_ends_the_connection_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    """Else it looks alive, and nobody hears what comes by it; whoever reads hears of the bug."""
    bugs: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", bugs.append)

    def stumble(_: Incoming) -> None:
        raise RuntimeError

    with mosquitto(tmp_path) as broker:
        place = Broker.of(Mqtt(url=broker.url))
        connection = Connection(place, "5", client_id="me", will=None, keepalive=60)
        connection.open()
        connection.listen("to/me", stumble)
        connection.publish("to/me", b"", qos=1)
        if waits:
            with pytest.raises(RuntimeError):
                connection.wait_for(lambda: False, seconds=60.0)
        else:
            connection.send()
            wait_until(lambda: bool(bugs), what="the network's own thread has read it")
        wait_until(lambda: is_lost(connection))
        assert not connection.was_hung_up()
        connection.close()
    assert [bug.exc_type for bug in bugs] == ([] if waits else [RuntimeError])
    bugs.clear()  # they hold on to the thread


@pytest.mark.slow
@PROTOCOLS
def test_a_copy_of_the_whole_device_is_named_though_the_two_throw_each_other_out(
    tmp_path: Path, protocol: str
) -> None:
    """As of an SD card that was cloned: name and client id are the same."""
    settings = {"url": "", "protocol": protocol}
    with mosquitto(tmp_path) as broker:
        settings["url"] = broker.url
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        with running(first, mqtt=settings) as one:
            wait_until(lambda: online(one))
            second.mkdir()
            (second / "state").mkdir()
            shutil.copy(first / "state/mqtt-client-id", second / "state")
            with running(second, mqtt=settings) as other:
                wait_until(lambda: "two devices with the same name" in one.daemon_log() + other.daemon_log())


@pytest.mark.slow
def test_the_client_id_is_kept_with_the_state(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        seen = []
        for _ in range(2):
            with running(tmp_path, mqtt={"url": broker.url}) as house:
                wait_until(lambda: online(house))
                seen.append((tmp_path / "state/mqtt-client-id").read_text())
        assert seen[0] == seen[1]
        assert len(seen[0]) <= 23


@pytest.mark.slow
def test_a_broker_whose_rules_name_client_ids_takes_the_one_that_is_given(tmp_path: Path) -> None:
    """`check` and `retire` have it too while no daemon does, and throw a running one out with another."""
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic write homeassistant/#\npattern write %c/#\n")
    extra = f"allow_anonymous true\nacl_file {acl}\n"
    with mosquitto(tmp_path, extra=extra) as broker, Subscriber(broker.port, "#") as heard:
        mqtt = {"url": broker.url, "client_id": "yard", "base_topic": "yard", "home_assistant": False}
        with running(tmp_path, mqtt=mqtt) as house:
            shutil.copyfile(PHOTOS[0], house.inbox / "a.jpg")
            wait_until(lambda: bool(heard.topics("result/")))
            assert not (tmp_path / "state/mqtt-client-id").exists()
            checked = dropsight("check", "-c", str(house.config))
            assert checked.returncode == 0
            assert (
                "warn  broker   what it accepts was not tested: its rules may depend on mqtt.client_id"
                in checked.stdout
            )
            assert online(house)
            assert "another client connected" not in house.daemon_log()
            house.stop()
            assert "removed " in dropsight("retire", "-c", str(house.config)).stdout
            wait_until(lambda: heard.topics("yard/test/info")[-1] == b"")


def quarrelling(tmp_path: Path, url: str, protocol: str) -> str:
    """Run two devices of one client id until both have their records through; return what they say of it."""
    with contextlib.ExitStack() as stack:
        houses = []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            mqtt = {"url": url, "protocol": protocol, "client_id": "yard"}
            houses.append(stack.enter_context(running(tmp_path / name, device=name, mqtt=mqtt)))
        for house in houses:
            shutil.copyfile(PHOTOS[0], house.inbox / "a.jpg")
        wait_until(lambda: not any(house.status()["stats"]["queues"]["outbox"] for house in houses))
        wait_until(lambda: any(OTHER in house.status()["troubles"].get("mqtt", "") for house in houses))
        said = next(log for log in (house.daemon_log() for house in houses) if OTHER in log)
        # Of two that slow down, each comes to have a minute for itself.
        assert said.count("mqtt: recovered", said.index(OTHER)) <= 1
        assert "is set aside" not in said
        return said


@pytest.mark.slow
@PROTOCOLS
def test_two_devices_of_one_client_id_say_what_is_likely_where_the_broker_does_not(
    tmp_path: Path, protocol: str
) -> None:
    with mosquitto(tmp_path) as broker:
        assert "connection lost" in quarrelling(tmp_path, broker.url, protocol)


@pytest.mark.slow
def test_two_devices_of_one_client_id_quote_a_broker_that_says_so(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, taking_over(broker.port, "yard") as middle:
        assert "another client connected with the client id yard" in quarrelling(tmp_path, middle.url, "5")


def test_another_is_suspected_only_of_losses_soon_after_each_login_with_nothing_on_the_way() -> None:
    now = 0.0
    evictions = Evictions(clock=lambda: now)

    def lose(count: int, *, after: float = 1.0, idle: bool = True) -> bool:
        nonlocal now
        for _ in range(count):
            evictions.logged_in()
            now += after
            evictions.lost(was_told=False, idle=idle)
        return evictions.suspected

    assert not lose(9, idle=False)
    assert not lose(9, after=SOON_SECONDS)
    assert not lose(FEW - 1)
    evictions.not_let_in()
    assert not lose(FEW - 1)
    assert lose(1)
    evictions.logged_in()
    assert evictions.seconds_to_last() == SOON_SECONDS
    now += SOON_SECONDS
    assert evictions.seconds_to_last() == 0
    assert not evictions.suspected


@pytest.mark.slow
def test_a_camera_whose_clock_falls_back_shows_its_newest_picture_all_the_same(tmp_path: Path) -> None:
    """Such as one without a battery: in its time it is 1970 again."""
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "dropsight/test/state/porch") as heard,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        (house.inbox / "porch").mkdir()
        for number, taken in enumerate((time.time(), 1_000.0, 900.0)):
            staged = house.root / "staged.jpg"
            shutil.copy(PHOTOS[number], staged)
            os.utime(staged, (taken, taken))
            staged.rename(house.inbox / "porch" / f"{number}.jpg")
            wait_until(lambda number=number: shown(heard) == f"porch/{number}.jpg")  # type: ignore[misc]
    assert [record["image"]["captured"][:4] for record in house.records()][1:] == ["1970", "1970"]


def shown(heard: Subscriber) -> str:
    path: str = json.loads(heard.messages[-1][1])["image_path"] if heard.messages else ""
    return path


def test_the_password_is_read_again_at_a_reload(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "porch", "right"], check=True)
    (tmp_path / "secret").write_text("wrong\n")
    (tmp_path / "secret").chmod(0o600)
    extra = f"allow_anonymous false\npassword_file {passwords}\n"
    with mosquitto(tmp_path, extra=extra) as broker:
        mqtt = {"url": broker.url, "username": "porch", "password_file": "secret"}
        with running(tmp_path, mqtt=mqtt) as house:
            wait_until(lambda: "refuses the login" in house.status()["troubles"].get("mqtt", ""))
            (tmp_path / "secret").write_text("right\n")
            assert house.process
            house.process.send_signal(signal.SIGHUP)
            wait_until(lambda: online(house))
