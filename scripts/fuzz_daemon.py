"""A running daemon for scripts/fuzz.py, and what is sent to it."""

import contextlib
import itertools
import json
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from brokers import Subscriber, mosquitto, wait_until
from daemons import House
from fuzz import Throw
from fuzz_throwing import Finding
from webs import ANY_PORT, address

ANSWER_SECONDS = 8.0


class Lair:
    """A daemon with a broker and a web part, and what it has logged that no input may bring about."""

    def __init__(self, stack: ExitStack, **settings: object) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropsight-fuzz-")))
        self.house = House(self.folder, settings)
        self.house.start()
        stack.callback(self.house.kill)
        self._read = 0

    def check(self) -> None:
        process = self.house.process
        if process is None or process.poll() is not None:
            raise Finding(f"the daemon ended: {self.house.daemon_log()[-2000:]}")
        with (self.folder / "daemon.log").open("rb") as log:
            log.seek(self._read)
            said = log.read()
        if b"Traceback" in said:
            raise Finding(f"the daemon logged: {said.decode(errors='replace')[-2000:]}")
        self._read += said.rfind(b"\n") + 1


def exchanged(connection: socket.socket, data: bytes, most: int = 2**16) -> bytes:
    """Send, say that this is all, and return the beginning of the answer."""
    connection.settimeout(ANSWER_SECONDS)
    answer = b""
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while len(answer) < most and (piece := connection.recv(most)):
            answer += piece
            if b"text/event-stream" in answer:  # has no end
                break
    return answer


@contextmanager
def the_control_socket() -> Iterator[Throw]:
    with ExitStack() as stack:
        lair = Lair(stack)
        path = lair.folder / "state" / "dropsight.sock"

        def throw(data: bytes) -> None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                answer = exchanged(connection, data)
            if answer:
                json.loads(answer.splitlines()[0])
            lair.check()

        yield throw


@contextmanager
def the_web_part() -> Iterator[Throw]:
    with ExitStack() as stack:
        lair = Lair(stack, web=ANY_PORT)
        where = urlsplit(address(lair.house))

        def throw(data: bytes) -> None:
            with socket.create_connection((where.hostname, where.port or 0)) as connection:
                answer = exchanged(connection, data)
            if answer.startswith(b"HTTP/1.1 5"):
                raise Finding(answer[:200])
            lair.check()

        yield throw


@contextmanager
def mqtt_commands() -> Iterator[Throw]:
    with ExitStack() as stack:
        broker = stack.enter_context(
            mosquitto(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropsight-fuzz-"))))
        )
        lair = Lair(stack, mqtt={"url": broker.url})
        hearer = stack.enter_context(Subscriber(broker.port, "dropsight/test/command/response"))
        wait_until(lambda: lair.house.status()["mqtt"]["connected"], what="a connection")
        numbers = itertools.count(1)

        def answers() -> bool:
            """Whether one is there; of many commands at once some are dropped, so this asks each time."""
            hearer.publish("dropsight/test/command", b'{"command": "stats"}')
            return bool(hearer.messages)

        def throw(data: bytes) -> None:
            hearer.publish("dropsight/test/command", data)
            if next(numbers) % 100 == 0:
                hearer.messages.clear()
                wait_until(answers, seconds=ANSWER_SECONDS, what="an answer over MQTT")
            lair.check()

        yield throw


def orders() -> list[bytes]:
    names = ("status", "stats", "ping", "pause", "resume", "rescan", "explain", "nothing")
    deep = b'{"command":' * 2_000 + b"1" + b"}" * 2_000
    return [*(json.dumps({"command": name, "id": "a-1"}).encode() + b"\n" for name in names), deep]


def requests() -> list[bytes]:
    gets = (
        "/",
        "/static/main.js",
        "/healthz",
        "/metrics",
        "/api/stats",
        "/api/results?limit=5&status=ok&before=77&min_confidence=0.5&label=cat&camera=%ff",
        "/api/results/stream",
        "/api/records/0123456789abcdef",
        "/api/images/0123456789abcdef/thumbnail",
        "/api/export?format=csv&since=2024-01-01T00:00:00Z",
    )
    head = (
        "Host: 127.0.0.1\r\nX-Dropsight: 1\r\nAuthorization: Bearer x\r\nCookie: a=b\r\nRange: bytes=0-5\r\n"
    )
    posts = (
        "/login",
        "/api/commands/pause",
        "/api/commands/rescan",
        "/api/images/0123456789abcdef/explanation",
    )
    form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntoken=x"
    return [
        *(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode() for path in gets),
        *(f"POST {path} HTTP/1.1\r\n{head}{form}".encode() for path in posts),
    ]
