"""Images sent to a source of images over MQTT that runs in this process, before a real broker."""

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from brokers import Mosquitto, mosquitto
from dropsight.config import Config, Mqtt, Watch
from dropsight.intake.folder import DropFolder
from dropsight.sources.arrivals import MqttSource, make
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles
from proxies import Proxy

TOPICS = "cameras/+/image"
# Saved at each change, as nobody does with a real disk under it.
SAVES = (
    "allow_anonymous true\npersistence true\npersistence_location {}/\n"
    "autosave_on_changes true\nautosave_interval 1\n"
)


class Sender:
    """A camera that publishes; a context manager."""

    def __init__(self, port: int) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def sending(broker: Mosquitto) -> Iterator[Sender]:
    sender = Sender(broker.port)
    try:
        yield sender
    finally:
        sender.close()


class Taking:
    """A source at work, its inbox, and what is told of it."""

    def __init__(self, root: Path, broker: Mosquitto | Proxy, settings: dict[str, Any]) -> None:
        state = root / "state"
        watch = {"path": root / "inbox", "processed": root / "done", "failed": root / "bad", "mqtt": TOPICS}
        kept = {key: settings.pop(key) for key in ("protocol", "client_id") if key in settings}
        limits = msgspec.structs.replace(Config().limits, max_bytes=settings.pop("max_bytes", 2**26))
        watches = settings.pop("watches", None) or [Watch(**{**watch, **settings})]
        for path in (*(each.path for each in watches), state):
            path.mkdir(parents=True, exist_ok=True)
        config = msgspec.structs.replace(
            Config(), watch=tuple(watches), mqtt=Mqtt(url=broker.url, **kept), limits=limits
        )
        self.watch, self.inbox = watches[0], watches[0].path
        self.troubles = Troubles(logging.getLogger("test"))
        folders = [DropFolder.open(each) for each in watches]
        self.source: MqttSource = make(config, folders, state, self.troubles)
        self._thread = self.source.start(Supervision(self.troubles))

    def files(self) -> list[Path]:
        return [path for path in self.inbox.rglob("*") if path.is_file() and not path.name.startswith(".")]

    def contents(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in self.files())

    def cameras(self) -> set[str]:
        return {path.parent.name for path in self.files()}

    def is_subscribed(self) -> bool:
        subscribed = all(session.subscription.had for session in self.source.sessions)
        return subscribed and self.source.status().connected

    def stop(self) -> None:
        self.source.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextmanager
def taking(root: Path, broker: Mosquitto | Proxy, **settings: Any) -> Iterator[Taking]:
    found = Taking(root, broker, settings)
    try:
        yield found
    finally:
        found.stop()


def lose_session(broker: Mosquitto, client_id: str) -> None:
    """Log in by this name with a clean session, as if the broker had lost it."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
    joined = threading.Event()
    client.on_connect = lambda *_: joined.set()
    client.connect("127.0.0.1", broker.port, clean_start=True)
    client.loop_start()
    assert joined.wait(20)
    client.disconnect()
    client.loop_stop()


def has_session(broker: Mosquitto, client_id: str) -> bool:
    """Whether the broker kept one of MQTT 3.1.1 by this name; looked at as its owner, who is not there."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    found: list[bool] = []
    joined = threading.Event()

    def on_connect(_client: object, _data: object, flags: paho.ConnectFlags, *_: object) -> None:
        found.append(flags.session_present)
        joined.set()

    client.on_connect = on_connect
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    assert joined.wait(20)
    client.disconnect()
    client.loop_stop()
    return found[0]


def rob_session(broker: Mosquitto, client_id: str, topics: str) -> None:
    """Log in by this name, and take the subscription out of the session that the broker has."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
    had, robbed = threading.Event(), threading.Event()
    client.on_connect = lambda _client, _data, flags, *_: had.set() if flags.session_present else None
    client.on_unsubscribe = lambda *_: robbed.set()
    lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    lasting.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", broker.port, clean_start=False, properties=lasting)
    client.loop_start()
    assert had.wait(20)
    client.unsubscribe(topics)
    assert robbed.wait(20)
    client.disconnect()
    client.loop_stop()


def publish_raw(broker: Mosquitto, topic: str, properties: bytes, payload: bytes) -> None:
    """Publish these properties and bytes, as many as no client makes or sends in reasonable time."""
    variable = len(topic).to_bytes(2) + topic.encode() + b"\0\1" + _length(properties)
    body = variable + properties + payload
    hello = b"\0\4MQTT\5\2\0\0\0\0\0"
    with socket.create_connection(("127.0.0.1", broker.port), 30) as peer:
        peer.sendall(b"\x10" + _length(hello) + hello)
        assert peer.recv(2)[0] == 0x20
        peer.sendall(b"\x32" + _length(body) + body)
        while not (heard := peer.recv(4096)).startswith(b"\x40") and b"\x40" not in heard:
            assert heard


def _length(data: bytes) -> bytes:
    left, digits = len(data), bytearray()
    while left > 0x7F:
        digits.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*digits, left])


@contextmanager
def deaf_mosquitto(folder: Path) -> Iterator[Mosquitto]:
    """A broker that lets nobody subscribe."""
    plugin = next(Path("/usr/lib").rglob("mosquitto_dynamic_security.so"), None)
    if plugin is None:
        pytest.skip("needs Mosquitto's dynamic security")
    access = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False}
    rules = {"defaultACLAccess": access, "clients": [], "groups": [], "roles": []}
    (folder / "rules.json").write_text(json.dumps(rules))
    os.chown(folder / "rules.json", os.getuid(), os.getgid())
    extra = f"allow_anonymous true\nplugin {plugin}\nplugin_opt_config_file {folder / 'rules.json'}\n"
    with mosquitto(folder, extra=extra) as broker:
        yield broker
