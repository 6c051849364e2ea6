"""An MQTT broker inside the process, on loopback only, for a first look."""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Self

from dropsight import installing
from dropsight.errors import SinkError

STANDARD_PORT = 1883


class LoopbackBroker:
    """amqtt on 127.0.0.1, at the standard port if it is free; use as a context manager."""

    def __init__(self) -> None:
        try:
            from amqtt.broker import Broker
        except ImportError as error:
            raise SinkError(f"the demo needs amqtt: {installing.with_extra('demo')}") from error
        self._broker_class = Broker
        self.port = free_port(STANDARD_PORT)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(15)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._broker.shutdown(), self._loop).result(15)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(15)
        self._loop.close()

    async def _begin(self) -> None:
        self._broker = self._broker_class(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await self._broker.start()


def free_port(wanted: int) -> int:
    """Return this port of 127.0.0.1, or another where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise SinkError("no free port on 127.0.0.1 for the demo")
