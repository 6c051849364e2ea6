"""Names with any number of addresses, of which few answer or none."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from dropsight.config import Mqtt, Webhook
from dropsight.errors import SinkError
from dropsight.sinks import dialling
from dropsight.sinks.mqtt import connection
from dropsight.sinks.mqtt.broker import Broker
from dropsight.sinks.webhook import HttpReceiver


class Name(Protocol):
    def __call__(self, silent: int, *, listener: bool = False) -> int: ...


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Iterator[Name]:
    """Give "house.example" so many addresses where nobody answers, and one more of a listener, if any.

    Returns their port.
    """
    asked = socket.getaddrinfo
    with ExitStack() as opened:

        def name(silent: int, *, listener: bool = False) -> int:
            full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            port: int = full.getsockname()[1]
            for _ in range(8):  # a queue that is full answers nobody
                waiting = opened.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
            there = asked("127.0.0.1", port, type=socket.SOCK_STREAM) * silent
            if listener:
                opened.enter_context(socket.create_server(("127.0.0.2", port)))
                there += asked("127.0.0.2", port, type=socket.SOCK_STREAM)
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: there)
            return port

        yield name


def test_of_hundreds_of_addresses_that_hang_all_have_had_their_turn_within_one_time(named: Name) -> None:
    """Each had the whole time for itself, so that nobody was told for hours that none answers."""
    port = named(300)
    with pytest.raises(TimeoutError):
        dialling.dial("house.example", port, seconds=1)


def test_a_broker_s_and_a_webhook_s_name_are_dialled_so(named: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    port = named(300)
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1.0)
    broker = Broker.of(Mqtt(url=f"mqtt://house.example:{port}"))
    with pytest.raises(SinkError, match="timed out"):
        connection.Connection(broker, "5", client_id="x", will=None, keepalive=60).open()
    with pytest.raises(SinkError, match="no answer"):
        HttpReceiver(Webhook(url=f"http://house.example:{port}/x", timeout=1)).try_to_connect()


@pytest.mark.parametrize("silent", [1, 20])
def test_where_others_hang_an_address_that_answers_is_connected_to_within_moments(
    named: Name, silent: int
) -> None:
    """As with IPv6 that leads nowhere: each record took half of a webhook's time where none was kept open."""
    port, began = named(silent, listener=True), time.monotonic()
    with dialling.dial("house.example", port, seconds=240) as connected:
        assert connected.getpeername() == ("127.0.0.2", port)
        assert connected.gettimeout() == 240
    assert time.monotonic() - began < 60


def test_what_is_said_of_no_connection_is_said_of_the_last_address(named: Name) -> None:
    """That of IPv4 mostly, which people know, and can do something about."""
    port = named(1)
    silent = socket.getaddrinfo("house.example", port)
    refusing = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.2", port))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", lambda *_, **__: [*silent, refusing])
        with pytest.raises(ConnectionRefusedError):
            dialling.dial("house.example", port, seconds=1)
        patched.setattr(socket, "getaddrinfo", lambda *_, **__: [refusing, *silent])
        with pytest.raises(TimeoutError):
            dialling.dial("house.example", port, seconds=1)


def test_an_address_of_a_kind_that_the_kernel_lacks_is_passed_by(
    named: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of IPv6 where that is turned off: they come first, and the others were never tried."""
    port = named(0, listener=True)
    there = socket.getaddrinfo("house.example", port)
    lacking = (socket.AF_APPLETALK, socket.SOCK_STREAM, 0, "", ("::1", port, 0, 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [lacking, *there])
    with dialling.dial("house.example", port, seconds=4) as connected:
        assert connected.getpeername() == ("127.0.0.2", port)


def test_a_broker_s_socket_at_which_too_many_wait_is_no_broker_for_now(tmp_path: Path) -> None:
    """To connect to one whose broker stands still had no end, and nobody was told."""
    path = str(tmp_path / "broker")
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        opened.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        broker = Broker.of(Mqtt(url=f"mqtt+unix://{path}"))
        with pytest.raises(SinkError, match="Resource temporarily unavailable"):
            connection.Connection(broker, "5", client_id="x", will=None, keepalive=60).open()
