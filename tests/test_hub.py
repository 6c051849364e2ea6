"""The stream of records to the dashboards, by itself."""

import asyncio
from typing import cast

import pytest

from dropsight.journal.recording import Recorded


class Durable:
    """As much of a record as the hub looks at."""

    def __init__(self, seq: int) -> None:
        self.seq, self.line = seq, b"{}"


def durable(seq: int) -> Recorded:
    return cast("Recorded", Durable(seq))


def test_a_server_that_begins_again_goes_on_sending() -> None:
    """What came in the last instant of its former life must not stand in the way."""
    pytest.importorskip("uvicorn")
    from dropsight.web.hub import Batch, Hub, StreamClient

    hub = Hub(lambda: b"")
    client = StreamClient(hang_up=lambda: None, pulse=False)

    async def begin() -> None:
        hub.begin()
        hub.join(client)

    async def live() -> object:
        await begin()
        hub.show([durable(2)])
        return await asyncio.wait_for(client.queue.get(), 10)

    asyncio.run(begin())
    hub.show([durable(1)])
    batch = asyncio.run(live())
    assert isinstance(batch, Batch)
    assert [seq for seq, _ in batch.entries] == [2]
    assert batch.after(1) is batch.after(0), "made once for all clients"
    assert batch.after(2) == b""
