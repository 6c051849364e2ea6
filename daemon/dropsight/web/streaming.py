"""The records as server-sent events: first what was missed, out of the journal, then what comes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from dropsight.journal.outbox import Delivery
from dropsight.web.hub import HAPPENING, Batch, Hub, StreamClient, event
from dropsight.web.results import PAGE_BYTES

PAGE = 200

Read = Callable[[int, int], Awaitable[Sequence[Delivery]]]
"""Records with seq > the first argument, in order, as many as the second says at most."""


async def streamed(hub: Hub, client: StreamClient, *, read: Read, after: int) -> AsyncIterator[bytes]:
    """Yield all records after this seq, without a gap and none twice."""
    yield b"retry: 2000\n\n"
    # While there is much to catch up with, the queue would only run full.
    while page := await read(after, PAGE):
        after, data = page[-1].seq, _encoded(page)
        yield data
        if len(page) < PAGE and len(data) < PAGE_BYTES:
            break
    hub.join(client)
    try:
        while page := await read(after, PAGE):
            after = page[-1].seq
            yield _encoded(page)
        while (item := await client.queue.get()) is not None:
            if not isinstance(item, Batch):
                yield item
            elif item.last > after:
                yield item.after(after)
                after = item.last
    finally:
        hub.leave(client)


def beginning(page: Sequence[Delivery]) -> Sequence[Delivery]:
    """Return as many of these as have so many bytes, one at least."""
    size = 0
    for count, each in enumerate(page, 1):
        size += len(each.line)
        if size >= PAGE_BYTES:
            return page[:count]
    return page


def _encoded(page: Sequence[Delivery]) -> bytes:
    return b"".join(
        event(each.seq, each.line, name=HAPPENING if each.status == "event" else b"") for each in page
    )
