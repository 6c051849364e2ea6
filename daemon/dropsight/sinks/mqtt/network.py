"""Who reads and writes a connection's socket: the thread that waits for it, or one that is there for it."""

import logging
import os
import select
import threading
import time
from collections.abc import Callable

from dropsight.errors import MachineError
from dropsight.sinks.mqtt.client import FrugalClient
from dropsight.threads import begin

log = logging.getLogger(__name__)

# So long a thread that waits for the connection may be busy with other things, before another reads for it.
PATIENCE_SECONDS = 5.0
# How often the keepalive is thought of.
LOOK_SECONDS = 5.0
CLOSE_SECONDS = 2.0
# So many keepalives a broker may take nothing of what we have for it, as it has with us (MQTT 5, 3.1.2.10).
DEAF_KEEPALIVES = 1.5


class Network:
    """Thread-safe. Drives paho's loop, which may be one thread's at a time.

    Whoever waits for the connection reads and writes: nothing is handed from one thread to another. While
    that thread is busy, one of its own does, so that the broker hears from us, and we from it. `alone`: that
    one always does. `changed` is notified of what others may wait for, of which nothing is known here.
    """

    def __init__(
        self, client: FrugalClient, *, name: str, keepalive: int, changed: threading.Condition, alone: bool
    ) -> None:
        self._client, self._changed, self._alone = client, changed, alone
        self._look = min(LOOK_SECONDS, keepalive / 8)
        self._patience = min(PATIENCE_SECONDS, keepalive / 8)
        self._deaf = DEAF_KEEPALIVES * keepalive
        self._driving = threading.Lock()
        self._poll = select.poll()
        self._bell: int | None = None
        self._ringing = threading.Lock()
        self._is_polling = self._is_over = False
        self._came_at = self._looked_at = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"mqtt-network-{name}", daemon=True)
        # From now on paho only queues what is published.
        client.on_socket_register_write = lambda *_: None

    def start(self) -> None:
        """Once the client has its socket."""
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._bell, select.POLLIN)
        self._poll.register(self._client.wire.fileno(), select.POLLIN)
        self._came_at = self._looked_at = time.monotonic()
        try:
            begin(self._thread)
        except MachineError:  # nobody has what to close it by
            self._is_over = True
            self._client.end()
            os.close(self._bell)
            self._bell = None
            raise

    def wait_for(self, is_so: Callable[[], bool], *, seconds: float) -> None:
        """Return once it is so, after the time, or when the connection is over; send and read what there is.

        In any case there is one turn: who never waits must hear and be heard, too.
        """
        if self._alone:
            with self._changed:
                self._changed.wait_for(is_so, max(seconds, 0.0))
            return
        deadline = time.monotonic() + seconds
        while not self._is_over:
            self._take_the_wheel()
            try:
                self._turn(deadline - self._came_at, unless=is_so)
            finally:
                self._came_at = time.monotonic()
                self._driving.release()
            if is_so() or time.monotonic() >= deadline:
                return

    def send(self) -> None:
        """Send what is queued as far as that takes no waiting."""
        if self._alone or not self._driving.acquire(blocking=False):
            self._ring()
            return
        try:
            self._write()
        finally:
            self._driving.release()

    def wake(self) -> None:
        """Have who waits look whether it is so by now."""
        if self._is_polling:
            self._ring()

    def stop(self) -> None:
        """Have what is queued be sent, but wait for no broker for long, and give everything back."""
        if self._bell is None:
            return
        if self._alone:
            self._ring()
            self._thread.join(CLOSE_SECONDS)
        else:
            self.wait_for(lambda: False, seconds=CLOSE_SECONDS)
        self._stopped.set()
        self._take_the_wheel()
        if not self._is_over:
            self._client.end()
            self._is_over = True
        self._driving.release()
        self._thread.join()
        with self._ringing:
            os.close(self._bell)
            self._bell = None

    def _take_the_wheel(self) -> None:
        self._came_at = time.monotonic()
        if not self._driving.acquire(blocking=False):
            self._ring()
            self._driving.acquire()

    def _ring(self) -> None:
        with self._ringing:
            if self._bell is not None:
                os.eventfd_write(self._bell, 1)

    def _keep(self) -> None:
        """Drive while nobody else does."""
        while not self._stopped.wait(0 if self._alone else self._patience) and not self._is_over:
            while self._is_deserted() and self._driving.acquire(blocking=False):
                try:
                    self._turn(self._look, unless=lambda: not self._is_deserted())
                finally:
                    self._driving.release()

    def _is_deserted(self) -> bool:
        if self._is_over or self._stopped.is_set():
            return False
        return self._alone or time.monotonic() - self._came_at >= self._patience

    def _turn(self, seconds: float, *, unless: Callable[[], bool]) -> None:
        """Write, wait for at most so long, read. A bug in what is called on the way ends the connection.

        Else it would look alive, and nobody hear what comes by it.
        """
        try:
            self._write()
            if not self._is_over:
                self._read(seconds, unless=unless)
        except BaseException:
            self._is_over = True
            self._client.end()
            raise

    def _write(self) -> None:
        if self._client.want_write():
            self._client.loop_write()
            self._is_over = self._client.socket() is None

    def _read(self, seconds: float, *, unless: Callable[[], bool]) -> None:
        client, wire = self._client, self._client.wire
        wanted = select.POLLIN | select.POLLOUT if client.want_write() else select.POLLIN
        self._poll.modify(wire.fileno(), wanted)
        self._is_polling = True
        try:
            is_ready = wire.pending() or unless()
            wait = 0.0 if is_ready else max(min(seconds, self._look), 0.0)
            found = dict(self._poll.poll(wait * 1000))
        finally:
            self._is_polling = False
        if self._bell in found:
            os.eventfd_read(self._bell)
            del found[self._bell]
        if found or wire.pending():
            wire.read_anew()
            client.loop_read()
            while wire.has_read_ahead and client.socket() is not None:
                client.loop_read()
        if client.socket() is not None:
            self._write()
        now = time.monotonic()
        if now - self._looked_at >= self._look:
            self._looked_at = now
            self._look_whether_it_reads(now)
            client.loop_misc()
        self._is_over = client.socket() is None

    def _look_whether_it_reads(self, now: float) -> None:
        """One that only speaks is alive to paho, whatever it is asked."""
        client = self._client
        since = None if client.socket() is None else client.wire.refused_since
        if since is not None and now - since >= self._deaf:
            log.warning("disconnected from the broker: it reads nothing of what is sent")
            client.end()
