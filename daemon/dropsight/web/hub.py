"""Sends new records to all streaming clients: encoded once, batched for a moment, never waited for."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import msgspec

from dropsight.journal.recording import Durable, RecordedEvent

QUEUED_BATCHES = 32
MOST_CLIENTS = 200
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 1.0
SECONDS_A_CLIENT = 0.005
PULSE_SECONDS = 2.0
BEAT_SECONDS = 15.0
_BEAT = b": all is well\n\n"
# The name under which a stream tells of what events do.
HAPPENING = b"event"


def event(seq: int, line: bytes, *, name: bytes = b"") -> bytes:
    """A record has no name; what has one, only those hear who listen to it."""
    return b"%bid: %d\ndata: %b\n\n" % (name and b"event: %b\n" % name, seq, line)


class Batch(msgspec.Struct, frozen=True, dict=True):
    """By their seqs, in order, what goes to clients; `data` is made once for all of them."""

    entries: Sequence[tuple[int, bytes]]

    @cached_property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.entries)

    def after(self, seq: int) -> bytes:
        """What comes after this seq."""
        if self.entries[0][0] > seq:
            return self.data
        return b"".join(data for number, data in self.entries if number > seq)

    @property
    def last(self) -> int:
        return self.entries[-1][0]


Item = Batch | bytes | None


class StreamClient(msgspec.Struct, eq=False):
    """`hang_up` ends its connection; `pulse`: it wants the figures, too. None in the queue is the end."""

    hang_up: Callable[[], None]
    pulse: bool
    queue: asyncio.Queue[Item] = msgspec.field(default_factory=lambda: asyncio.Queue(QUEUED_BATCHES))


def _of(entry: Durable) -> bytes:
    return event(entry.seq, entry.line, name=HAPPENING if isinstance(entry, RecordedEvent) else b"")


class Hub:
    """`show` is for the recorder's thread, all else for the event loop's.

    A client whose queue is full is hung up on: it comes back and catches up from the journal, and nobody
    else waits for it. A batch goes out at once after a quiet time; else after a pause that grows with
    the clients, so that what they all cost has a bound.
    """

    def __init__(self, pulse: Callable[[], bytes]) -> None:
        self.dropped = 0
        self.clients: set[StreamClient] = set()
        self._pulse = pulse
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._fresh: list[tuple[int, bytes]] = []
        self._flushed_at = 0.0
        self._ended = False
        self._places = 0

    def show(self, recorded: Sequence[Durable]) -> None:
        """Pass durable records on. Costs next to nothing while nobody listens."""
        loop = self._loop
        if loop is None or not self.clients:
            return
        with self._lock:
            first = not self._fresh
            self._fresh.extend((entry.seq, _of(entry)) for entry in recorded)
        if first:
            try:
                loop.call_soon_threadsafe(self._arrange)
            except RuntimeError:  # the loop has come to its end
                self._loop = None

    def begin(self) -> None:
        with self._lock:
            self._fresh = []  # what an earlier loop did not come round to: nobody would send it
        self._loop, self._ended = asyncio.get_running_loop(), False

    def join(self, client: StreamClient) -> None:
        self.clients.add(client)
        if self._ended:
            self._give(client, None)

    def leave(self, client: StreamClient) -> None:
        self.clients.discard(client)

    @property
    def full(self) -> bool:
        return self._places >= MOST_CLIENTS

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count a stream from its request on: it joins only when it has caught up."""
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    def hang_up(self) -> None:
        """From any thread: end all streams; who may come back does."""
        if self._loop:
            with contextlib.suppress(RuntimeError):  # the loop has come to its end
                self._loop.call_soon_threadsafe(self._hang_up)

    def end(self) -> None:
        """Send everybody away."""
        self._ended = True
        for client in list(self.clients):
            self._give(client, None)

    async def keep_beating(self) -> None:
        """Send the figures, and signs of life to those who do not want them, until cancelled."""
        beats = 0
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            beats += 1
            if any(client.pulse for client in self.clients):
                data = self._pulse()
                for client in [client for client in self.clients if client.pulse]:
                    self._give(client, data)
            if beats % round(BEAT_SECONDS / PULSE_SECONDS) == 0:
                for client in [client for client in self.clients if not client.pulse]:
                    self._give(client, _BEAT)

    def _hang_up(self) -> None:
        for client in list(self.clients):
            client.hang_up()

    def _arrange(self) -> None:
        loop = asyncio.get_running_loop()
        pause = min(max(SHORTEST_SECONDS, len(self.clients) * SECONDS_A_CLIENT), LONGEST_SECONDS)
        loop.call_later(max(self._flushed_at + pause - loop.time(), 0.0), self._flush)

    def _flush(self) -> None:
        self._flushed_at = asyncio.get_running_loop().time()
        with self._lock:
            fresh, self._fresh = self._fresh, []
        # Within a group, what was dropped a second time comes out of order.
        batch = Batch(sorted(fresh))
        for client in list(self.clients):
            self._give(client, batch)

    def _give(self, client: StreamClient, item: Item) -> None:
        try:
            client.queue.put_nowait(item)
        except asyncio.QueueFull:
            self.clients.discard(client)
            self.dropped += 1
            client.hang_up()
