"""The web part steps aside while images wait, and still serves who comes."""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from brokers import wait_until
from daemons import PHOTOS, House
from dropsight.crashpoints import HANG_VARIABLE
from dropsight.web.access import Access
from dropsight.web.connections import WebConnection
from dropsight.web.guard import Guard
from dropsight.web.yielding import (
    CREDIT_SECONDS,
    LONGEST_DEBT_SECONDS,
    PRIORITY,
    AddressTurns,
    Allowance,
)
from floods import flood
from webs import ANY_PORT, address, ask

RATE = 0.05


def test_who_comes_after_a_quiet_while_is_served_at_once_and_a_flood_gets_the_share() -> None:
    allowance = Allowance(RATE, now=0.0, spent=0.0)
    assert allowance.look(now=0.0, spent=CREDIT_SECONDS, busy=True) == 0
    assert allowance.look(now=0.0, spent=CREDIT_SECONDS + 0.1, busy=True) == pytest.approx(0.1 / RATE)
    assert allowance.look(now=0.1 / RATE, spent=CREDIT_SECONDS + 0.1, busy=True) == pytest.approx(0)


def test_what_is_spent_while_no_image_waits_is_not_held_against_who_comes_then() -> None:
    allowance = Allowance(RATE, now=0.0, spent=0.0)
    assert allowance.look(now=1.0, spent=100.0, busy=False) == 0
    assert allowance.look(now=1.0, spent=100.0 + CREDIT_SECONDS, busy=True) == 0


def test_nobody_looks_after_the_share_a_hundred_times_a_second_while_nobody_asks() -> None:
    """Each look takes the interpreter from a worker, and wakes a device at rest."""
    allowance = Allowance(RATE, now=0.0, spent=0.0)
    assert allowance.lasts_seconds(cores=4) == CREDIT_SECONDS / 4
    allowance.look(now=0.0, spent=CREDIT_SECONDS, busy=True)
    assert allowance.lasts_seconds(cores=4) == 0, "from here on every moment counts"


def test_a_flood_that_is_over_leaves_little_to_sleep_off() -> None:
    allowance = Allowance(RATE, now=0.0, spent=0.0)
    assert allowance.look(now=1.0, spent=1_000.0, busy=True) == pytest.approx(LONGEST_DEBT_SECONDS)


def test_addresses_take_turns_where_time_is_short() -> None:
    """Whoever looks in during a flood from elsewhere is the next but one, not the last of hundreds."""
    served: list[str] = []

    async def serve() -> None:
        turns = AddressTurns()
        here, gone = (asyncio.get_running_loop().create_future() for _ in range(2))
        assert await turns.mine("at once", here)
        turns.scarce = True

        async def ask_from(where: str) -> None:
            if await turns.mine(where, gone if where == "gone" else here):
                served.append(where)

        asking = [
            asyncio.ensure_future(ask_from(where)) for where in ("flood", "flood", "gone", "flood", "I")
        ]
        await asyncio.sleep(0)
        gone.set_result(None)
        turns.scarce = False  # who comes now is no sooner served than who waits
        asking.append(asyncio.ensure_future(ask_from("late")))
        await asyncio.sleep(0)
        assert sum(turns.next() for _ in range(10)) == 5
        await asyncio.gather(*asking)

    asyncio.run(serve())
    assert served == ["flood", "I", "late", "flood", "flood"]


async def comes_true(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition)


def test_who_hangs_up_while_waiting_for_a_turn_leaves_nothing_behind(tmp_path: Path) -> None:
    """As many as come within an hour of images that wait would fill the memory."""

    async def serve() -> None:
        turns = AddressTurns()
        turns.scarce = True
        app = Guard(Starlette(), Access(None, tmp_path), turns)
        config = uvicorn.Config(app, http=WebConnection, ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.ensure_future(server.serve(sockets=[listener]))
            for _ in range(20):
                _, client = await asyncio.open_connection(*listener.getsockname())
                client.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await comes_true(lambda: bool(server.server_state.tasks))
                client.close()
                await comes_true(lambda: not server.server_state.tasks)
            server.should_exit = True
            await serving

    asyncio.run(serve())


def web_seconds(house: House) -> float:
    """What the thread of the web part has taken of a processor so far."""
    assert house.process
    threads = Path(f"/proc/{house.process.pid}/task")
    stats = [(thread / "stat").read_text().rpartition(")")[2].split() for thread in threads.iterdir()]
    ticks = sum(int(stat[11]) + int(stat[12]) for stat in stats if int(stat[16]) == PRIORITY)
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_a_flood_gets_its_share_of_a_core_and_no_more_while_an_image_is_in_hand(tmp_path: Path) -> None:
    house = House(tmp_path, {"web": ANY_PORT})
    try:
        house.spawn(**{HANG_VARIABLE: "in_decoding:"})
        wait_until(house.answers)
        url = address(house)
        shutil.copyfile(PHOTOS[0], house.inbox / "1.jpg")
        wait_until(lambda: house.counters()["in_hand"] == 1)
        # A person's dashboard, before and beside all others.
        assert [ask(url, "/api/results").status for _ in range(100)] == [200] * 100
        with flood(url):
            wait_until(lambda: web_seconds(house) > CREDIT_SECONDS + 0.5)
            began, spent = time.monotonic(), web_seconds(house)
            wait_until(lambda: time.monotonic() - began > 10)
            share = (web_seconds(house) - spent) / (time.monotonic() - began)
        assert 0 < share < 0.3, "of a core, which is what it would take"
    finally:
        house.kill()
