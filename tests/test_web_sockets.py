"""MQTT over WebSockets, and connections that take their time, with brokers that mean harm."""

import base64
import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt.client import WebsocketConnectionError

from brokers import Subscriber, free_port, mosquitto, wait_until
from daemons import PHOTOS, running
from dropsight.sinks.mqtt.web_socket import HANDSHAKE_BYTES, FrugalWebSocket

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BINARY, CONTINUATION, TEXT, CLOSE, PING, PONG = 2, 0, 1, 8, 9, 10
Peer = Callable[[socket.socket], None]


def frame(opcode: int, payload: bytes, *, size: int | None = None, final: bool = True) -> bytes:
    size = len(payload) if size is None else size
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 2**16 else b""
    return bytes([final << 7 | opcode]) + (length or b"\x7f" + size.to_bytes(8)) + payload


def greet(peer: socket.socket, *, answer: bytes | None = None) -> None:
    asked = b""
    while b"\r\n\r\n" not in asked:
        asked += peer.recv(4_096)
    (key,) = [
        line.partition(b": ")[2]
        for line in asked.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    ]
    secret = base64.b64encode(hashlib.sha1(key + MAGIC, usedforsecurity=False).digest())
    head = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    peer.sendall(head + secret + b"\r\n\r\n" if answer is None else answer)


@contextmanager
def speaking_to(peer: Peer) -> Iterator[socket.socket]:
    """Our end of a connection of which a thread serves the other."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with contextlib.suppress(OSError):
            peer(theirs)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        ours.settimeout(60)
        yield ours
    finally:
        ours.close()
        thread.join(60)
        theirs.close()


def spoken(plain: socket.socket, *, seconds: float = 60) -> FrugalWebSocket:
    return FrugalWebSocket(
        plain, seconds=seconds, host="broker", port=80, is_ssl=False, path="/mqtt", extra_headers=None
    )


def read(web: FrugalWebSocket, size: int) -> bytes:
    """As paho reads: again and again, a few bytes at a time, whatever there is."""
    found = b""
    while len(found) < size:
        with contextlib.suppress(BlockingIOError):
            data = web.recv(min(size - len(found), 7))
            if not data:
                break
            found += data
    return found


def test_what_comes_in_frames_of_any_length_is_read_as_it_was_sent_and_pings_are_answered() -> None:
    parts = [b"a" * 125, b"b" * 126, b"c" * 70_000, b"d"]
    answered = b""

    def serve(peer: socket.socket) -> None:
        nonlocal answered
        greet(peer)
        peer.sendall(frame(BINARY, parts[0], final=False) + frame(PING, b"here?"))
        peer.sendall(frame(CONTINUATION, parts[1]) + frame(BINARY, b"") + frame(PONG, b""))
        for byte in frame(BINARY, parts[2]):
            peer.sendall(bytes([byte]))
        peer.sendall(frame(BINARY, parts[3]))
        while len(answered) < 11:
            answered += peer.recv(100)

    with speaking_to(serve) as plain:
        web = spoken(plain)
        assert read(web, sum(map(len, parts))) == b"".join(parts)
        wait_until(lambda: len(answered) == 11)
    assert answered[:2] == bytes([0x80 | PONG, 0x80 | 5])
    assert bytes(byte ^ answered[2 + place % 4] for place, byte in enumerate(answered[6:])) == b"here?"


class Narrow:
    """A socket that takes so many bytes at a time, or none where there is a 0."""

    def __init__(self, plain: socket.socket) -> None:
        self._plain, self.takes, self.sent = plain, list[int](), bytearray()

    def recv(self, size: int) -> bytes:
        return self._plain.recv(size)

    def send(self, data: bytes | bytearray) -> int:
        count = min(self.takes.pop(0), len(data)) if self.takes else len(data)
        if not count:
            raise BlockingIOError
        self.sent += data[:count]
        return count


@pytest.mark.parametrize("takes", [[3, 2], [0, 3], [3, 0]], ids=["in parts", "not yet", "then not"])
def test_an_answer_to_a_ping_that_goes_out_in_part_is_ended_before_anything_else(takes: list[int]) -> None:
    """What followed went out within it: the broker understood nothing any more."""

    def serve(peer: socket.socket) -> None:
        greet(peer)
        peer.sendall(frame(PING, b"here?") + frame(BINARY, b"x"))

    with speaking_to(serve) as plain:
        web = spoken(plain)
        narrow = Narrow(plain)
        narrow.takes = takes
        web._socket = narrow  # type: ignore[assignment]  # noqa: SLF001 - paho has no other way in
        assert read(web, 1) == b"x"
        for _ in range(3):
            with contextlib.suppress(BlockingIOError):
                if web.send(b"record"):
                    break
    assert [narrow.sent[0], narrow.sent[1] & 0x7F, narrow.sent[11]] == [0x80 | PONG, 5, 0x80 | BINARY]
    assert len(narrow.sent) == 11 + 12


def test_nothing_is_kept_of_a_frame_that_has_no_end() -> None:
    """It was kept until then, and all of it copied for each byte that was read."""

    def serve(peer: socket.socket) -> None:
        greet(peer)
        peer.sendall(frame(BINARY, b"", size=2**62))
        while True:
            peer.sendall(bytes(65_536))

    with speaking_to(serve) as plain:
        web = spoken(plain)
        for _ in range(64):
            assert web.recv(2**16)
        kept = sum(len(value) for value in vars(web).values() if isinstance(value, bytearray))
        assert kept < 1_000


@pytest.mark.parametrize(
    "sent",
    [
        frame(PING, b"", size=126),
        frame(CLOSE, b"", size=2**62),
        frame(TEXT, b"text"),
        b"\x82\x81\0\0\0\0x",
        b"\x83\0",
        b"",
    ],
    ids=["long ping", "endless close", "text", "masked", "reserved", "nothing"],
)
def test_what_no_broker_sends_ends_the_connection(sent: bytes) -> None:
    def serve(peer: socket.socket) -> None:
        greet(peer)
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)

    with speaking_to(serve) as plain:
        web = spoken(plain)
        assert read(web, 1) == b""
        assert not web.connected


@pytest.mark.parametrize(
    "answer",
    [
        b"X" * 2 * HANDSHAKE_BYTES,
        b"X: y\r\n" * HANDSHAKE_BYTES,
        b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept\r\n",
    ],
    ids=["one line", "many lines", "no secret"],
)
def test_an_answer_to_a_handshake_that_is_none_is_a_fault_of_the_broker(answer: bytes) -> None:
    answering = speaking_to(lambda peer: greet(peer, answer=answer))
    with answering as plain, pytest.raises(WebsocketConnectionError):
        spoken(plain)


def test_who_trickles_within_a_handshake_is_hung_up_on() -> None:
    """The publisher waited for as long as bytes came, and the broker's return was nothing to it."""
    over = threading.Event()

    def serve(peer: socket.socket) -> None:
        while not over.wait(0.05):
            peer.sendall(b"X")

    try:
        with speaking_to(serve) as plain, pytest.raises(TimeoutError):
            spoken(plain, seconds=0.5)
    finally:
        over.set()


@pytest.mark.slow
@pytest.mark.broker
def test_records_reach_a_broker_over_web_sockets_and_its_commands_are_obeyed(tmp_path: Path) -> None:
    port = free_port()
    extra = f"allow_anonymous true\nlistener {port} 127.0.0.1\nprotocol websockets\n"
    with (
        mosquitto(tmp_path, extra=extra) as broker,
        Subscriber(broker.port) as heard,
        running(tmp_path, mqtt={"url": f"ws://127.0.0.1:{port}"}) as house,
    ):
        (house.inbox / "1.jpg").write_bytes(PHOTOS[0].read_bytes())
        wait_until(lambda: len(heard.topics("/result/")) == 1)
        wait_until(lambda: bool(heard.topics("/stats")))  # records go out first, then it listens
        heard.publish("dropsight/test/command", b'{"command": "stats", "id": "%b"}' % (b"x" * 4_000))
        heard.publish("dropsight/test/command", b'{"command": "pause"}')
        wait_until(lambda: house.status()["stats"]["paused"])
