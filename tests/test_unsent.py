"""What is made for clients of the web part that take nothing of it has a bound, whoever chose its size."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from brokers import wait_until
from daemons import running
from dropsight.journal.outbox import Delivery
from dropsight.web import streaming
from dropsight.web.access import Access
from dropsight.web.background import LOOKED_UP_AHEAD, BackgroundWork
from dropsight.web.connections import WebConnection
from dropsight.web.guard import Guard
from dropsight.web.hub import Hub, StreamClient
from dropsight.web.results import PAGE_BYTES, Query, look_up
from dropsight.web.unsent import MOST_BYTES, PIECE_BYTES, UnsentAnswers
from dropsight.web.yielding import AddressTurns
from webs import ANY_PORT, address, ask

LARGE = 2**21
ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def comes_true(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition)


def test_who_reads_nothing_of_many_large_answers_is_hung_up_on_and_who_reads_is_not(tmp_path: Path) -> None:
    """Half the connections that there may be took gigabytes."""
    asked = 0

    async def large(_: Request) -> Response:
        nonlocal asked
        asked += 1
        return Response(bytes(LARGE))

    async def serve() -> None:
        app = Guard(Starlette(routes=[Route("/", large)]), Access(None, tmp_path), AddressTurns())
        server = uvicorn.Server(
            uvicorn.Config(app, http=WebConnection, ws="none", lifespan="off", log_config=None)
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.ensure_future(server.serve(sockets=[listener]))
            idle = []
            for _ in range(40):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, listener.getsockname())
                client.send(ASKED)
                idle.append(client)
            await comes_true(lambda: asked == 40)
            await comes_true(lambda: len(server.server_state.connections) <= MOST_BYTES / LARGE)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(ASKED)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(LARGE) == bytes(LARGE)
            writer.close()
            for client in idle:
                client.close()
            server.should_exit = True
            await serving

    asyncio.run(serve())


class Unread:
    """A client of whom no more than its first piece is taken, until it is hung up on."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.took = b""

    def hang_up(self) -> None:
        self.gone.set_result(None)

    async def send(self, message: Message) -> None:
        if self.took:
            await self.gone
        else:
            self.took = message["body"]

    async def take(self, unsent: UnsentAnswers, body: bytes) -> None:
        scope = {"state": {"gone": self.gone, "hang_up": self.hang_up}}
        await unsent.pass_on({"type": "http.response.body", "body": body}, scope, self.send)


def test_what_all_streams_are_sent_counts_once_and_the_longest_stuck_goes_first() -> None:
    async def live() -> None:
        unsent, body = UnsentAnswers(3 * LARGE), bytes(LARGE)
        clients = [Unread() for _ in range(8)]
        sending = [asyncio.ensure_future(client.take(unsent, body)) for client in clients[:5]]
        await asyncio.sleep(0)
        assert not any(client.gone.done() for client in clients)
        sending += [asyncio.ensure_future(client.take(unsent, bytes(LARGE))) for client in clients[5:]]
        await asyncio.sleep(0)
        assert [client.gone.done() for client in clients] == [True] * 5 + [False] * 3
        assert all(len(client.took) == PIECE_BYTES for client in clients)
        for client in clients[5:]:
            client.hang_up()
        await asyncio.gather(*sending)

    asyncio.run(live())


def journal_of(lines: Sequence[bytes]) -> list[Delivery]:
    return [Delivery(seq, "front", "ok", line) for seq, line in enumerate(lines, 1)]


def test_records_of_long_names_come_in_more_pages_and_all_of_them() -> None:
    """Each of 500 may have 20 kB: a name of four thousand bytes that are no letters."""
    journal = journal_of([json.dumps({"label": "x" * 100_000}).encode()] * 50)

    def before(seq: int, limit: int) -> list[Delivery]:
        return [each for each in reversed(journal) if each.seq < seq][:limit]

    found, at = list[Delivery](), 51
    for _ in range(5):
        page = look_up(Query(limit=500, before=at), before)
        assert sum(len(each.line) for each in page.found) < PAGE_BYTES + 200_000
        found += page.found
        at = page.before or 0
    assert found == journal[::-1]
    assert at == 0


def test_a_stream_catches_up_with_records_of_long_names_a_part_at_a_time() -> None:
    journal = journal_of([b"x" * 100_000] * 50)
    told: list[bytes] = []

    async def read(after: int, limit: int) -> Sequence[Delivery]:
        return streaming.beginning(journal[after : after + limit])

    async def live() -> None:
        hub = Hub(lambda: b"")
        hub.begin()
        hub.end()
        async for part in streaming.streamed(
            hub, StreamClient(hang_up=lambda: None, pulse=False), read=read, after=0
        ):
            assert len(part) < PAGE_BYTES + 200_000
            told.append(part)

    asyncio.run(live())
    assert b"".join(told).count(b"data: ") == 50


def test_what_is_looked_up_does_not_pile_up_before_an_event_loop_that_sleeps(tmp_path: Path) -> None:
    """It sleeps for seconds while images wait, and a hundred answers were found meanwhile."""
    (tmp_path / "journal.db").touch()
    begun = 0

    async def live() -> None:
        nonlocal begun
        background = BackgroundWork(tmp_path / "journal.db")

        def work(_: object) -> None:
            nonlocal begun
            begun += 1

        asking: list[Awaitable[None]] = [asyncio.ensure_future(background.look_up(work)) for _ in range(50)]
        await asyncio.sleep(0)
        background._clerk.submit(lambda: None).result(60)  # noqa: SLF001 - all that it was given is done
        assert begun == LOOKED_UP_AHEAD
        await asyncio.gather(*asking)
        background.close()

    asyncio.run(live())
    assert begun == 50


@pytest.mark.slow
def test_an_answer_of_records_of_long_names_says_where_to_go_on(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        deep = os.fsencode(house.inbox) + b"/".join([b"", *[b"\xff" * 250] * 13])
        Path(os.fsdecode(deep)).mkdir(parents=True)
        place = os.open(deep, os.O_RDONLY)
        for number in range(200):
            (house.root / "new.jpg").write_bytes(b"no picture")
            os.rename(house.root / "new.jpg", b"%d.jpg" % number, dst_dir_fd=place)
        os.close(place)
        house.until(lambda: house.finished() == 200)
        answer = ask(url, "/api/results?limit=500")
        assert answer.status == 200
        assert len(answer.body) < 2 * PAGE_BYTES
        assert answer.json()["before"] is not None
