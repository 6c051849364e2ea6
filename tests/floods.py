"""Everything at once that may be done to a web port from outside, as fast as one process can."""

import contextlib
import multiprocessing
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from urllib.parse import urlsplit

ADDRESSES = 7
FORM = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\ntoken=x"
SPOKEN = (
    b"GET / HTTP/1.1\r\nX-Slow: ",
    b"GET /api/results/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /api/results HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n\r\n",
    b"GET /api/results?limit=200 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4,
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    FORM,
    b"",
)
AT_ONCE = 700


def pour(url: str, ready: Event, over: Event) -> None:
    """Connect, ask, read nothing or hang up, and come again until it is over."""
    place = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
    ready.set()
    number = 0
    with selectors.DefaultSelector() as watched:
        while not over.is_set():
            if len(watched.get_map()) < AT_ONCE:
                number += 1
                _come(watched, place, number)
            for key, _ in watched.select(0 if len(watched.get_map()) < AT_ONCE else 0.01):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                if number % 3 and _heard(client):
                    continue
                watched.unregister(client)
                client.close()
        for key in list(watched.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()


def _come(watched: selectors.BaseSelector, place: tuple[str, int], number: int) -> None:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.settimeout(0.2)
    try:
        client.bind((f"127.0.0.{1 + number % ADDRESSES}", 0))
        client.connect(place)
        client.sendall(SPOKEN[number % len(SPOKEN)])
    except OSError:
        client.close()
        time.sleep(0.01)
    else:
        watched.register(client, selectors.EVENT_READ)


def _heard(client: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return bool(client.recv(512))
    return False


def burn(_: str, ready: Event, over: Event) -> None:
    """Take as much of a processor as `pour` does, and leave everybody alone."""
    ready.set()
    while not over.is_set():
        pass


@contextmanager
def flood(url: str, *, only_burning: bool = False) -> Iterator[None]:
    ready, over = multiprocessing.Event(), multiprocessing.Event()
    process = multiprocessing.Process(target=burn if only_burning else pour, args=(url, ready, over))
    process.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        over.set()
        process.join(60)
        if process.is_alive():
            process.kill()
            process.join()
