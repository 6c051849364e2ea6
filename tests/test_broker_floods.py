"""Brokers that send without an end what none sends: nothing piles up, neither in memory nor in the log."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from brokers import mosquitto
from dropsight.errors import SinkError
from dropsight.sinks.mqtt import connection as connecting
from dropsight.sinks.mqtt import incoming
from dropsight.sinks.mqtt.connection import Connection
from proxies import proxy
from test_broker_path import CONNACK_5, PINGRESP, connection_to, opened

PINGREQ = b"\xc0\0"
MESSAGE = b"\x32\6\0\1t\0\1\0"
RETAINED = b"\x31\5\0\1t\0j"
NEVER_ASK = b"\x20\6\0\0\3\x13\0\0"  # a CONNACK with a Server Keep Alive of 0
REFUSALS = b"\x90\x84\x01\0\1\0" + b"\x87" * 129


@contextmanager
def flooding(says: bytes, *, count: int, asked: bool) -> Iterator[str]:
    """A broker that says it so often and hangs up; it reads a CONNECT and, if `asked`, one word more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # What it does not read is not to fit into the kernel's buffers, which may grow to 32 MB.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def serve() -> None:
            client, _ = listener.accept()
            with client, suppress(OSError):
                client.recv(4096)
                client.sendall(CONNACK_5)
                if asked:
                    client.recv(4096)
                group = says * min(count, 1_000)
                for _ in range(count // 1_000 or 1):
                    client.sendall(group)
                client.shutdown(socket.SHUT_WR)
                while asked and client.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(60)


def hear_all(connection: Connection) -> str:
    """Listen until the connection is lost, and return why it is."""
    try:
        while True:
            connection.acknowledged(timeout=60.0)
    except SinkError as lost:
        return str(lost)


@pytest.mark.parametrize("says", [PINGREQ, MESSAGE], ids=["questions", "messages"])
def test_a_broker_that_wants_answers_for_ever_and_reads_none_is_hung_up_on(says: bytes) -> None:
    """They are kept until they are sent: 27 MB more a second, without a bound."""
    with (
        flooding(says, count=2_000_000, asked=False) as url,
        opened(connection_to(url)) as connection,
    ):
        assert "Protocol error" in hear_all(connection)


def test_a_broker_that_refuses_for_ever_what_was_asked_once_is_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was a line for each reason in each answer, whether anything was asked or not."""
    with flooding(REFUSALS, count=1_000, asked=True) as url, opened(connection_to(url)) as connection:
        connection.listen("to/me", lambda _: None)
        connection.send()
        hear_all(connection)
    assert [each for each in caplog.messages if "denied the subscription" in each] == [
        "the broker denied the subscription to to/me: Not authorized"
    ]


def test_a_broker_that_tells_for_ever_what_it_retains_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same topic again and again: neither topics nor bytes came to their bounds, and records waited."""
    monkeypatch.setattr(incoming, "RETAINED_SECONDS", 0.5)
    with hard_of_hearing(CONNACK_5, goes_on=RETAINED) as url, opened(connection_to(url)) as connection:
        assert connection.retained("t") == {"t": b"j"}


def test_what_a_broker_retains_is_heard_by_a_link_that_is_slower_than_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing would be there: no former name of ours, nor that another is at work under it."""
    monkeypatch.setattr(connecting, "QUIET_SECONDS", 1.0)
    with mosquitto(tmp_path) as broker, proxy(broker.port) as link:
        with opened(connection_to(broker.url)) as near:
            near.publish("t", b"j", qos=1, retain=True)
            assert near.acknowledged(timeout=60.0)
        with opened(connection_to(link.url)) as connection:
            link.delay_seconds = 0.7
            assert connection.retained("t") == {"t": b"j"}


@contextmanager
def hard_of_hearing(greeting: bytes, *, goes_on: bytes) -> Iterator[str]:
    """A broker that reads nothing after a CONNECT, and `goes_on` with this until it is hung up on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client, suppress(OSError):
                client.recv(4096)
                client.sendall(greeting)
                while goes_on and not is_over.wait(0.2):
                    client.sendall(goes_on)
                is_over.wait(60)

        is_over = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            is_over.set()
            thread.join(60)


def test_a_broker_that_goes_on_speaking_and_reads_nothing_is_hung_up_on() -> None:
    """Its connection stood for as long as it liked, and no other was tried."""
    with (
        hard_of_hearing(CONNACK_5, goes_on=PINGRESP) as url,
        opened(connection_to(url, keepalive=2)) as connection,
    ):
        connection.publish("of/us", bytes(10_000_000), qos=1)
        assert "Keep alive" in hear_all(connection)


def test_a_broker_that_wants_to_be_asked_never_is_asked_and_missed_when_it_is_gone() -> None:
    with (
        hard_of_hearing(NEVER_ASK, goes_on=b"") as url,
        opened(connection_to(url, keepalive=2)) as connection,
    ):
        assert "Keep alive" in hear_all(connection)
