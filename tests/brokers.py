"""Real Mosquitto processes, and a subscriber that keeps what it hears."""

import itertools
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from processes import begin, end

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

AGAIN = "/again"

_PORTS = itertools.count(10_000)


def wait_until(condition: Callable[[], bool], *, seconds: float = 120.0, what: str = "") -> None:
    """Long: others may keep all cores busy, and some work has the least priority of all."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.01)


def wait_while_it_gets_on(
    condition: Callable[[], bool],
    how_far: Callable[[], object],
    *,
    seconds: float = 120.0,
    what: str | Callable[[], str],
) -> None:
    """For what takes as long as it takes: fails once `how_far` has said the same for so long."""
    said, since = how_far(), time.monotonic()
    while not condition():
        if (now := how_far()) != said:
            said, since = now, time.monotonic()
        elif time.monotonic() - since > seconds:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"nothing has moved for {seconds} s: {said}: {text}")
        time.sleep(0.1)


def free_port() -> int:
    """One that stays free: each is one test run's, and the kernel gives connections higher ones."""
    for port in _PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) and _claims(port):
                return port
    raise AssertionError("no port is free")


def _claims(port: int) -> bool:
    """Tell whether it is ours from now on, until this process ends: nobody may listen there yet.

    Two runs that began together had one broker, at which each daemon was the other's double.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0dropsight-tests-{port}")
    except OSError:
        claim.close()
        return False
    claim.detach()
    return True


class Mosquitto:
    """A broker of one's own; `start` and `kill` as often as a test likes."""

    def __init__(
        self, folder: Path, *, port: int | None = None, extra: str = "allow_anonymous true\n"
    ) -> None:
        self.port = port or free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._config = folder / f"mosquitto-{self.port}.conf"
        # By default a subscriber that falls behind silently loses messages.
        common = (
            f"listener {self.port} 127.0.0.1\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n"
        )
        self._config.write_text(common + extra)
        self._process: subprocess.Popen[bytes] | None = None

    def configured(self) -> str:
        return self._config.read_text()

    def configure(self, text: str) -> None:
        """For the next start."""
        self._config.write_text(text)

    def start(self) -> None:
        if MOSQUITTO is None:
            raise FileNotFoundError("mosquitto")
        self.kill()
        self._process = begin(
            [MOSQUITTO, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._listens, what="mosquitto listens")

    def signal(self, number: int) -> None:
        if self._process:
            self._process.send_signal(number)

    def kill(self) -> None:
        if self._process:
            end(self._process)
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def mosquitto(
    folder: Path, *, port: int | None = None, extra: str = "allow_anonymous true\n"
) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, port=port, extra=extra)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


class Subscriber:
    """Collects (topic, payload, retained) in the order of arrival; a context manager.

    With a name it has a session that outlives its connections: the broker keeps what it misses. `sent` has
    each topic's QoS and retain flag, which are the publisher's own if asked for `as_published`; `correlated`
    the last correlation data.
    """

    def __init__(
        self, port: int, topic: str = "dropsight/#", *, name: str = "", as_published: bool = False
    ) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.sent: defaultdict[str, set[tuple[int, bool]]] = defaultdict(set)
        self.correlated: dict[str, bytes | None] = {}
        self._options = SubscribeOptions(qos=1, retainAsPublished=as_published)
        self._subscribed = threading.Event()
        self._topic, self._name = topic, name
        self._client = self._make_client()
        self._port, self._lasting = port, bool(name)

    def topics(self, part: str) -> list[bytes]:
        """Payloads of the topics that hold this part; of records told again only if that is asked for."""
        heard = [(topic, payload) for topic, payload, _ in list(self.messages) if part in topic]
        return [payload for topic, payload in heard if AGAIN in part or not topic.endswith(AGAIN)]

    def publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1)

    def request(self, topic: str, payload: bytes, *, reply_to: str, correlation: bytes) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic, properties.CorrelationData = reply_to, correlation
        self._client.publish(topic, payload, qos=1, properties=properties)

    def come(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600 if self._lasting else 0
        self._subscribed.clear()
        self._client.connect("127.0.0.1", self._port, clean_start=not self._lasting, properties=properties)
        self._client.loop_start()
        assert self._subscribed.wait(120)

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client._reset_sockets()  # noqa: SLF001 - else the next loop_start leaks the pair of this one

    def _make_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self._name, protocol=paho.MQTTv5)
        client.on_connect = lambda client, *_: client.subscribe(self._topic, options=self._options)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._on_message
        return client

    def __enter__(self) -> Self:
        self.come()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self.sent[message.topic].add((message.qos, message.retain))
        self.correlated[message.topic] = getattr(message.properties, "CorrelationData", None)
        self.messages.append((message.topic, bytes(message.payload), message.retain))
