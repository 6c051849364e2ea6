"""What a message costs on its way to the broker, and that it gets there by whichever way."""

import inspect
import itertools
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from brokers import Subscriber, free_port, mosquitto, wait_until
from dropsight.config import Mqtt, Tls
from dropsight.errors import SinkError
from dropsight.sinks.mqtt.broker import Broker, Protocol
from dropsight.sinks.mqtt.client import MOST_STRAY, BoundedClient
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.incoming import Incoming
from dropsight.sinks.mqtt.paho_socket import GROUP_BYTES, READS, Wire
from test_tls import Authority

CONNACK_5, CONNACK_311 = b"\x20\3\0\0\0", b"\x20\2\0\0"
PINGREQ, PINGRESP = 0xC0, b"\xd0\0"
USER_PROPERTY = b"\x26\0\0\0\0"


class Trickle:
    """A socket that takes and gives what it is told to, and counts how often it is asked."""

    def __init__(self, *, takes: Iterator[int] | None = None, has: bytes = b"") -> None:
        self.sent, self.has, self.calls = bytearray(), has, 0
        self._takes = takes

    def send(self, data: bytes | bytearray, /) -> int:
        self.calls += 1
        count = len(data) if self._takes is None else min(next(self._takes), len(data))
        if not count:
            raise BlockingIOError
        self.sent += data[:count]
        return count

    def recv(self, size: int, /) -> bytes:
        self.calls += 1
        if not self.has:
            raise BlockingIOError
        data, self.has = self.has[:size], self.has[size:]
        return data

    def close(self) -> None: ...
    def setblocking(self, flag: bool, /) -> None: ...  # noqa: FBT001 - paho's

    def fileno(self) -> int:
        return -1


class Overwire(BoundedClient):
    """A client on such a socket: what it publishes is queued until it is asked to write."""

    def __init__(self, sock: Trickle) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.wire = Wire(sock, plain=True)
        self._sock = self.wire
        self.on_socket_register_write = lambda *_: None
        self.max_inflight_messages_set(0)
        self.landed: list[int] = []
        self.on_publish = lambda _client, _data, mid, *_: self.landed.append(mid)


def connection_to(
    url: str, protocol: Protocol = "5", *, ca: Path | None = None, keepalive: int = 60
) -> Connection:
    place = Broker.of(Mqtt(url=url, tls=Tls(ca=ca)))
    return Connection(place, protocol, client_id="path", will=None, keepalive=keepalive)


@contextmanager
def opened(connection: Connection) -> Iterator[Connection]:
    connection.open()
    try:
        yield connection
    finally:
        connection.close()


def read(client: paho.Client, command: int, packet: bytes) -> None:
    """Have it be what paho has read."""
    found = client._in_packet  # noqa: SLF001
    found["command"], found["packet"], found["remaining_length"] = command, bytearray(packet), len(packet)


def calls_of(act: Callable[[], object]) -> int:
    """Count the Python functions that it calls."""
    count = 0

    def hear(_frame: FrameType, event: str, _found: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(hear)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


class Script:
    """A broker that says what it is told to, and keeps what it hears; a context manager."""

    def __init__(self, says: bytes, *, reads: bool = True) -> None:
        self.heard = bytearray()
        self._says, self._reads, self._left = says, reads, threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, suppress(ConnectionError):  # who has what it waited for hangs up
            client.recv(4096)
            client.sendall(self._says)
            if not self._reads:
                self._left.wait(60)
            while self._reads and (data := client.recv(4096)):
                self.heard += data
                client.sendall(PINGRESP * data.count(PINGREQ))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._listener.close()
        self._thread.join(60)


def publish_all(connection: Connection, payloads: list[bytes]) -> None:
    """As many at a time as are allowed, until all are acknowledged."""
    waiting, out = list(payloads), set[int]()
    while waiting or out:
        while waiting and len(out) < connection.offers.window:
            mid = connection.publish("path/of/all", waiting.pop(0), qos=1)
            assert mid is not None
            out.add(mid)
        out.difference_update(connection.acknowledged(timeout=60.0))


def test_a_group_of_packets_is_written_at_once_and_read_ahead_of_single_bytes() -> None:
    sock = Trickle()
    client = Overwire(sock)
    mids = [client.publish(f"t/{number}", bytes(300), qos=1).mid for number in range(100)]
    client.loop_write()
    assert len(sock.sent) > 30_000
    assert sock.calls == 1
    sock.has = b"".join(b"\x40\2" + mid.to_bytes(2) for mid in mids)
    client.loop_read()
    assert client.landed == mids
    assert sock.calls == 2


@pytest.mark.parametrize("takes", [1, 7, 299, 4_096, GROUP_BYTES + 1])
def test_a_socket_that_takes_little_at_a_time_gets_every_byte_once(takes: int) -> None:
    """What was called sent is not sent until the last of its group is."""
    whole = Trickle()
    one, other = Overwire(whole), Overwire(slow := Trickle(takes=itertools.cycle([takes, 0])))
    for number in range(40):
        for client in (one, other):
            client.publish(f"t/{number}", bytes([number]) * (number * 97), qos=1)
        one.loop_write()
        other.loop_write()
    while other.want_write():
        other.loop_write()
    assert slow.sent == whole.sent


def test_who_sends_for_ever_is_read_to_a_bound_at_a_time() -> None:
    message = b"\x30\x0f\0\1t\0" + bytes(11)  # so that none ends where a read does
    client = Overwire(sock := Trickle(has=message * 100_000))
    while not client.loop_read() and client.wire.has_read_ahead:
        pass
    assert sock.calls == READS


@pytest.mark.broker
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("way", ["mqtt", "mqtts", "ws", "wss", "mqtt+unix"])
def test_all_arrive_in_order_by_whichever_way(tmp_path: Path, way: str, protocol: Protocol) -> None:
    """Some are larger than what goes out, or is read, at a time."""
    ports = {name: free_port() for name in ("mqtts", "ws", "wss")}
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("broker")
    files = f"cafile {authority.cert}\ncertfile {cert}\nkeyfile {key}\n"
    unix = Path("/tmp") / f"dropsight-{free_port()}"  # noqa: S108 - the path of a socket is a short one
    extra = f"allow_anonymous true\nlistener 0 {unix}\nlistener {ports['mqtts']} 127.0.0.1\n{files}"
    for name, more in (("ws", ""), ("wss", files)):
        extra += f"listener {ports[name]} 127.0.0.1\nprotocol websockets\n{more}"
    payloads = [bytes([number % 256]) * (number % 50 * 1_500) for number in range(150)]
    try:
        with mosquitto(tmp_path, extra=extra) as broker, Subscriber(broker.port, "path/#") as subscriber:
            place = str(unix) if way == "mqtt+unix" else f"127.0.0.1:{ports.get(way, broker.port)}"
            with opened(connection_to(f"{way}://{place}", protocol, ca=authority.cert)) as connection:
                publish_all(connection, payloads)
            wait_until(lambda: len(subscriber.messages) == len(payloads))
            assert [payload for _, payload, _ in subscriber.messages] == payloads
    finally:
        unix.unlink(missing_ok=True)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_connection_that_nobody_waits_for_is_kept_alive(protocol: Protocol) -> None:
    """Who waits for it reads and writes; but that thread may be busy with a slow disk, or a picture."""
    connack = CONNACK_5 if protocol == "5" else CONNACK_311
    with Script(connack) as broker, opened(connection_to(broker.url, protocol, keepalive=3)):
        wait_until(lambda: broker.heard.count(PINGREQ) >= 2)


def test_a_connection_that_nobody_waits_for_is_heard(tmp_path: Path) -> None:
    heard: list[Incoming] = []
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        opened(connection_to(broker.url, keepalive=5)) as connection,
    ):
        subscribed = connection.listen("to/me", heard.append)
        while subscribed not in connection.acknowledged(timeout=60.0):
            pass
        subscriber.publish("to/me", b"hello")
        wait_until(lambda: [each.payload for each in heard] == [b"hello"])


def test_what_is_queued_goes_out_although_nobody_waits(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        opened(connection_to(broker.url)) as connection,
    ):
        connection.publish("dropsight/word", b"sent", qos=1)
        connection.send()
        wait_until(lambda: bool(subscriber.topics("word")))


def test_who_waits_is_woken_from_elsewhere_and_at_a_loss(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, opened(connection_to(broker.url)) as connection:
        waker = threading.Timer(0.2, connection.wake)
        waker.start()
        assert not connection.acknowledged(timeout=600.0)
        waker.join()
        threading.Timer(0.2, broker.kill).start()
        with pytest.raises(SinkError, match="connection lost"):
            connection.acknowledged(timeout=600.0)


def test_a_broker_that_reads_nothing_is_left_all_the_same() -> None:
    """What waits for it may be more than the system's buffers hold."""
    with Script(CONNACK_5, reads=False) as broker:
        connection = connection_to(broker.url)
        connection.open()
        for _ in range(100):
            connection.publish("t", bytes(900_000), qos=1)
        connection.acknowledged(timeout=0.0)
        connection.close()


def test_the_properties_of_acknowledgements_are_not_read() -> None:
    """A broker may send nine thousand with each; paho copies all that follow for every single one."""
    client = Overwire(Trickle())
    many = b"\xc8\xdf\x02" + USER_PROPERTY * 9_000
    for reason, most in ((b"\0", 20), (b"\x10", 20), (b"\x87", 100)):
        mid = client.publish("t", b"", qos=1).mid
        read(client, 0x40, mid.to_bytes(2) + reason + many)
        assert calls_of(lambda: client._handle_pubackcomp("PUBACK")) < most  # noqa: SLF001
        assert client.landed[-1] == mid
    read(client, 0x90, b"\0\1" + many + b"\1")
    assert calls_of(client._handle_suback) < 100  # noqa: SLF001


def test_a_broker_that_acknowledges_for_ever_what_was_not_sent_is_hung_up_on() -> None:
    client = Overwire(Trickle())
    answers = []
    for _ in range(MOST_STRAY + 1):
        read(client, 0x40, b"\0\7")
        answers.append(client._handle_pubackcomp("PUBACK"))  # noqa: SLF001
    assert set(answers[:-1]) == {MQTTErrorCode.MQTT_ERR_SUCCESS}
    assert answers[-1] == MQTTErrorCode.MQTT_ERR_PROTOCOL


def test_paho_still_has_what_is_taken_the_short_way() -> None:
    """These are no part of what it promises; a version without them must not get through our tests."""
    wanted = {
        "_create_socket": [],
        "_sock_recv": ["bufsize"],
        "_sock_send": ["buf"],
        "_do_on_publish": ["mid", "reason_code", "properties"],
        "_handle_pubackcomp": ["cmd"],
        "_handle_publish": [],
        "_handle_suback": [],
        "_handle_unsuback": [],
        "_handle_pubrec": [],
        "_handle_pubrel": [],
        "_handle_pingreq": [],
        "_send_puback": ["mid"],
        "_loop_rc_handle": ["rc"],
    }
    found = {name: list(inspect.signature(getattr(paho.Client, name)).parameters)[1:] for name in wanted}
    assert found == wanted
    state = vars(paho.Client(CallbackAPIVersion.VERSION2))
    assert {
        "_in_packet",
        "_out_messages",
        "_out_packet",
        "_out_message_mutex",
        "_protocol",
        "_transport",
        "_ssl",
    } <= state.keys()
    assert {"command", "packet", "remaining_length", "have_remaining", "to_process"} <= state[
        "_in_packet"
    ].keys()
