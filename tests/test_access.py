"""Who may enter and who may command: passwords that stay secret, and orders from strangers."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt import publish
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from arriving import publish_raw
from brokers import Mosquitto, Subscriber, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from dropsight.config import Mqtt, password
from dropsight.errors import DropsightError
from dropsight.service.remote import Remote
from dropsight.sinks.mqtt.broker import Broker
from dropsight.sinks.mqtt.client import PUBLISH, BoundedClient
from dropsight.sinks.mqtt.commands import LONGEST_COMMAND_BYTES
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.topics import Topics

SECRET = "hunter2 swordfish"  # noqa: S105 - of a test
ACL = """
user pi
topic write dropsight/test/#
topic write homeassistant/device/dropsight_test/#
topic read dropsight/test/command
topic read homeassistant/status
user reader
topic read #
"""


def with_passwords(folder: Path, users: Mapping[str, str], *, acl: str = ACL) -> str:
    """Return what a Mosquitto's config needs for these users."""
    passwords = folder / "passwords"
    for number, (user, secret) in enumerate(users.items()):
        how = ["-b"] if number else ["-c", "-b"]
        subprocess.run(["mosquitto_passwd", *how, str(passwords), user, secret], check=True)
    (folder / "acl").write_text(acl)
    return f"allow_anonymous false\npassword_file {passwords}\nacl_file {folder / 'acl'}\n"


class Reader(Subscriber):
    """A subscriber with a name."""

    def __init__(self, port: int, topic: str = "#") -> None:
        super().__init__(port, topic)
        self._client.username_pw_set("reader", SECRET)


@pytest.mark.slow
@pytest.mark.broker
def test_a_user_bound_to_its_own_topics_gets_everything_through_and_its_password_is_nowhere(
    tmp_path: Path,
) -> None:
    extra = with_passwords(tmp_path, {"pi": SECRET, "reader": SECRET})
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    with mosquitto(tmp_path, extra=extra) as broker, Reader(broker.port) as subscriber:
        mqtt = {"url": broker.url, "username": "pi", "password_file": "secret", "thumbnails": True}
        with running(tmp_path, mqtt=mqtt) as house:
            shutil.copy(PHOTOS[0], house.inbox)
            for topic in ("result", "state", "problem", "thumbnail", "stats", "info", "dropsight_test"):
                wait_until(lambda topic=topic: bool(subscriber.topics(f"/{topic}")))  # type: ignore[misc]
            assert house.process
            seen = [
                Path(f"/proc/{house.process.pid}/cmdline").read_bytes().decode(),
                json.dumps(house.status()),
                dropsight("status", "-c", str(house.config)).stdout,
                dropsight("config", "-c", str(house.config)).stdout,
                subscriber.topics("/info")[-1].decode(),
                house.daemon_log(),
            ]
            house.stop()
    assert not any(word in text for text in (*seen, house.daemon_log()) for word in SECRET.split())


@pytest.mark.broker
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_is_one_line_that_does_not_hold_it(tmp_path: Path, protocol: str) -> None:
    extra = with_passwords(tmp_path, {"pi": SECRET})
    (tmp_path / "secret").write_text("wrong one\n")
    with mosquitto(tmp_path, extra=extra) as broker:
        mqtt = {"url": broker.url, "username": "pi", "password_file": "secret", "protocol": protocol}
        house = House(tmp_path, {"mqtt": mqtt})
        shutil.copy(PHOTOS[0], house.inbox)
        done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "refuses the login" in line]
    assert line.endswith("see mqtt.username and mqtt.password_file")
    assert "wrong one" not in done.stderr
    assert len(house.records()) == 1


@pytest.mark.broker
def test_the_password_may_be_a_credential_of_systemd(tmp_path: Path) -> None:
    extra = with_passwords(tmp_path, {"pi": SECRET})
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "dropsight.mqtt-password").write_text(f"{SECRET}\n")
    with mosquitto(tmp_path, extra=extra) as broker:
        house = House(tmp_path, {"mqtt": {"url": broker.url, "username": "pi"}})
        done = dropsight(
            "check", "-c", str(house.config), environ={"CREDENTIALS_DIRECTORY": str(credentials)}
        )
    assert "ok    broker   MQTT 5" in done.stdout


def test_a_password_file_goes_before_a_credential_and_neither_is_needed(tmp_path: Path) -> None:
    (tmp_path / "dropsight.mqtt-password").write_text("of systemd")
    (tmp_path / "file").write_text("of the file")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert password(Mqtt(), environ) == "of systemd"
    assert password(Mqtt(password_file=tmp_path / "file"), environ) == "of the file"
    assert password(Mqtt(), {"CREDENTIALS_DIRECTORY": str(tmp_path / "gone")}) is None
    assert password(Mqtt(), {}) is None


def test_a_password_on_the_command_line_is_refused_without_being_repeated(tmp_path: Path) -> None:
    done = dropsight("run", "--mqtt", "mqtt://bob:swordfish@hub", "--once", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "mqtt.password_file" in line
    assert "swordfish" not in line


@pytest.mark.slow
def test_a_password_in_the_url_of_a_config_is_shown_by_no_command(tmp_path: Path) -> None:
    house = House(tmp_path, {"mqtt": {"url": "mqtt://bob:swordfish@127.0.0.1:1"}})
    for arguments in (("config",), ("check",), ("run", "--once")):
        done = dropsight(arguments[0], "-c", str(house.config), *arguments[1:])
        assert "swordfish" not in done.stdout + done.stderr


def order(broker: Mosquitto, payload: bytes, *, topic: str = "test", reply_to: str | None = None) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if reply_to is not None:
        properties.ResponseTopic = reply_to
    client.publish(f"dropsight/{topic}/command", payload, qos=1, properties=properties).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


PAUSE = b'{"command": "pause"}'


@pytest.mark.broker
def test_only_live_orders_of_bounded_size_on_the_devices_own_topic_are_obeyed(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        publish.single("dropsight/test/command", PAUSE, port=broker.port, hostname="127.0.0.1", retain=True)
        with running(tmp_path, mqtt={"url": broker.url}) as house:
            wait_until(lambda: bool(subscriber.topics("/info")))
            order(broker, PAUSE, topic="other")
            order(broker, PAUSE + b" " * LONGEST_COMMAND_BYTES)
            for wrong in (b'{"command": "pause", "force": true}', b'["pause"]', PAUSE[:-1], b"\xff\xfe", b""):
                order(broker, wrong)
            order(broker, b'{"command": "explain", "id": "../../../etc/passwd"}')
            order(broker, b'{"command": "rescan"}')  # in order, so it is answered last
            wait_until(lambda: any(b'"rescan"' in each for each in subscriber.topics("command/response")))
            assert house.status()["paused"] is False
            answers = [json.loads(each) for each in subscriber.topics("command/response")]
            assert [answer["ok"] for answer in answers] == [False] * 6 + [True]


@pytest.mark.broker
def test_an_order_makes_the_daemon_speak_on_nobody_elses_topic(tmp_path: Path) -> None:
    """Who may command need not be allowed to speak as the device, or to Home Assistant."""
    mine = "dropsight/test/command/response/me"
    others = [
        "homeassistant/device/evil/config",
        "homeassistant/status",
        "dropsight/other/command",
        "dropsight/test/command",
        "dropsight/test/availability",
        "$SYS/broker/uptime",
    ]
    with mosquitto(tmp_path) as broker, running(tmp_path, mqtt={"url": broker.url}) as house:
        wait_until(lambda: house.status()["mqtt"]["connected"])
        with Subscriber(broker.port, "#") as subscriber:
            wait_until(lambda: bool(subscriber.topics("/info")))
            known = len(subscriber.messages)
            for topic in others:
                order(broker, b'{"command": "rescan"}', reply_to=topic)
            for topic in (mine, "replies/client-17"):
                order(broker, b'{"command": "rescan"}', reply_to=topic)
            wait_until(lambda: bool(subscriber.topics("replies/")))
            wait_until(lambda: bool(subscriber.topics(mine)))
            spoken = [(topic, each) for topic, each, _ in subscriber.messages[known:] if b'"ok"' in each]
            assert [topic for topic, _ in spoken] == [
                *["dropsight/test/command/response"] * len(others), mine, "replies/client-17",
            ]  # fmt: skip
            assert house.daemon_log().count("is not allowed as a response topic") == 1  # a minute


@given(st.text(st.characters(codec=None), max_size=300))
@example("#")
@example("a/+/b")
@example("a\0b")
@example("\ud800")
@example("")
def test_no_response_topic_can_stop_the_commander(topic: str) -> None:
    """Where an answer may go, paho takes the topic: anything else would raise in the commander's thread."""
    if Topics.of("home/dropsight", "test").may_answer_on(topic):
        paho.Client(CallbackAPIVersion.VERSION2).publish(topic, b"", qos=1)
        assert not topic.startswith(("$", "homeassistant/", "home/dropsight/"))


def refuse(_: object) -> object:
    raise DropsightError("not now")


@pytest.mark.slow
@given(
    st.binary(max_size=600)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(repr).map(str.encode)
)
@example(b'{"command":' + b"[" * 4_000)
@example(b'{"x":' + b'{"x":' * 800)
@example(b"[" * LONGEST_COMMAND_BYTES)
@example(b'{"command": "' + b"x" * 4_000 + b'"}')
@example(b'{"command": "\xff"}')
@example(b'{"command": "explain", "id": "' + b"0" * 31 + b'/"}')
def test_any_payload_gets_a_short_answer_and_nothing_else(payload: bytes) -> None:
    done: list[Any] = []
    answer = Remote({"pause": done.append, "explain": refuse}).obey(payload)
    assert json.loads(answer)["ok"] is bool(done)
    assert len(answer) < 1_000


@pytest.mark.broker
def test_a_broker_that_lets_nobody_listen_is_told_of(tmp_path: Path) -> None:
    plugin = next(Path("/usr/lib").rglob("mosquitto_dynamic_security.so"), None)
    if plugin is None:
        pytest.skip("needs Mosquitto's dynamic security")
    access = {
        "publishClientSend": True,
        "publishClientReceive": True,
        "subscribe": False,
        "unsubscribe": True,
    }
    rules = {"defaultACLAccess": access, "clients": [], "groups": [], "roles": []}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    extra = f"allow_anonymous true\nplugin {plugin}\nplugin_opt_config_file {tmp_path / 'rules.json'}\n"
    os.chown(tmp_path / "rules.json", os.getuid(), os.getgid())
    with mosquitto(tmp_path, extra=extra) as broker, running(tmp_path, mqtt={"url": broker.url}) as house:
        wait_until(lambda: "denied the subscription to dropsight/test/command" in house.daemon_log())
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: house.status()["mqtt"]["published"] == 1)


def highest_memory_bytes(house: House) -> int:
    assert house.process
    text = Path(f"/proc/{house.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_command_of_any_size_takes_no_memory_and_records_go_on(tmp_path: Path, protocol: str) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url, "protocol": protocol}) as house,
    ):
        wait_until(lambda: bool(subscriber.topics("/stats")))
        before = highest_memory_bytes(house)
        subscriber.leave()  # it would be sent all of it, too
        publish_raw(broker, "dropsight/test/command", b"", bytes(100_000_000))
        if protocol == "3.1.1":
            wait_until(lambda: "it had more than 4,096 bytes" in house.daemon_log())
        subscriber.come()
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: bool(subscriber.topics("/result/")))
        order(broker, b'{"command": "rescan"}')
        wait_until(lambda: bool(subscriber.topics("command/response")))
        assert highest_memory_bytes(house) - before < 60_000_000
        assert "connection lost" not in house.daemon_log()  # for which our own messages would be blamed


@pytest.mark.parametrize("quality", [2, 3])
def test_a_broker_that_sends_at_a_quality_that_nobody_asked_for_is_hung_up_on(quality: int) -> None:
    """At QoS 2 messages are kept until a second word on each, which may never come."""
    client = BoundedClient(CallbackAPIVersion.VERSION2)
    client._in_packet["command"] = PUBLISH | quality << 1  # noqa: SLF001
    client._in_packet["packet"] = bytearray(b"\0\1t\0\1payload")  # noqa: SLF001
    assert client._handle_publish() == MQTTErrorCode.MQTT_ERR_PROTOCOL  # noqa: SLF001
    assert not client._in_messages  # noqa: SLF001


@pytest.mark.broker
def test_a_command_of_many_properties_is_answered_where_all_are(tmp_path: Path) -> None:
    """They would keep paho busy for minutes, and all others off the processor."""
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        wait_until(lambda: bool(subscriber.topics("/stats")))
        subscriber.leave()  # it would read them, too
        properties = b"\x26\0\0\0\0" * 200_000 + b"\x08\0\4mine"
        publish_raw(broker, "dropsight/test/command", properties, b'{"command": "rescan"}')
        wait_until(lambda: "ignored the properties of an MQTT message" in house.daemon_log())
        subscriber.come()
        order(broker, b'{"command": "rescan"}')
        wait_until(lambda: bool(subscriber.topics("command/response")))


@pytest.mark.broker
def test_what_strangers_retain_under_our_topics_is_heard_to_a_bound(tmp_path: Path) -> None:
    """A thousand messages of a megabyte are more than a small machine has."""
    with mosquitto(tmp_path) as broker:
        publish.multiple(
            [(f"dropsight/test/thumbnail/{number}", bytes(900_000), 1, True) for number in range(40)],
            hostname="127.0.0.1",
            port=broker.port,
        )
        ours = Broker.of(Mqtt(url=broker.url))
        connection = Connection(ours, "5", client_id="test", will=None, keepalive=60)
        connection.open()
        try:
            found = connection.retained("dropsight/test/thumbnail/+")
            assert 10 < len(found) < 20
        finally:
            connection.close()


@pytest.mark.slow
@pytest.mark.broker
def test_thousands_of_commands_are_few_lines_and_few_deeds(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        running(tmp_path, mqtt={"url": broker.url}) as house,
    ):
        wait_until(lambda: bool(subscriber.topics("/stats")))
        lines = house.daemon_log().count("\n")
        for number in range(5_000):
            subscriber.publish("dropsight/test/command", b'{"command": "rescan"}' if number % 2 else b"?")
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: bool(subscriber.topics("/result/")))
        wait_until(lambda: len(subscriber.topics("test/command")) >= 5_000)
        wait_until(lambda: "commands were rejected" in house.daemon_log())
        assert house.daemon_log().count("\n") - lines < 10
        assert len(subscriber.topics("command/response")) < 1_000
