"""The dashboard of a running daemon, asked as programs ask it."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from brokers import wait_until
from daemons import House

ANY_PORT = {"listen": "127.0.0.1:0"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def address(house: House) -> str:
    """Wait for the dashboard, and return its address."""
    wait_until(lambda: bool(house.status()["dashboard"]), what="the dashboard")
    found: str = house.status()["dashboard"]
    wait_until(lambda: is_up(found), what="the dashboard answers")
    return found


def is_up(url: str) -> bool:
    try:
        return ask(url, "/healthz").status == 200
    except OSError:
        return False


def ask(
    url: str, path: str, *, method: str = "GET", headers: Mapping[str, str] = {}, body: bytes | None = None
) -> Answer:
    """Send the path as it is: no client is to tidy up what an attacker would not."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


class Events:
    """What comes of a stream, an event at a time."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self._response = response

    def next(self) -> dict[str, str]:
        """Wait for the next event; raises EOFError at the end."""
        found: dict[str, str] = {}
        while True:
            line = self._response.readline()
            if not line:
                raise EOFError
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                found[name] = value
            elif "data" in found:
                return found
            else:
                found = {}

    def ended(self) -> bool:
        """Read on until there is no more."""
        while self._response.readline():
            pass
        return True

    def record(self) -> dict[str, Any]:
        """Wait for the next record."""
        while True:
            event = self.next()
            if "event" not in event:
                record: dict[str, Any] = json.loads(event["data"])
                return record | {"seq": int(event["id"])}


@contextmanager
def stream(url: str, query: str = "", **headers: str) -> Iterator[Events]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", f"/api/results/stream{query}", headers=sent)
        yield Events(connection.getresponse())
    finally:
        connection.close()


def idle_stream(url: str) -> socket.socket:
    return idle_client(url, "/api/results/stream?after=0")


def idle_client(url: str, path: str) -> socket.socket:
    """A client that asks for something and then reads nothing, with as little room as there may be."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client
