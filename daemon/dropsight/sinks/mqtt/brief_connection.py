"""A short connection to a broker, with one message at a time: so a rejection is known to be for that one."""

import time
from collections.abc import Callable
from typing import Self

from dropsight.config import Mqtt
from dropsight.errors import SinkError
from dropsight.sinks.mqtt.broker import Broker, Protocol
from dropsight.sinks.mqtt.connecting import connect, protocols
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.incoming import Incoming

HANGS_UP = "it disconnects on this"
ANSWER_SECONDS = 10.0


class BriefConnection:
    """For one thread; logs in again where the broker has hung up."""

    def __init__(
        self,
        settings: Mqtt,
        *,
        client_id: str,
        will: tuple[str, bytes] | None = None,
        credential: str | None = None,
    ) -> None:
        self._broker = Broker.of(settings, credential=credential)
        self._spoken, self._keepalive = protocols(settings.protocol), settings.keepalive
        self._client_id, self._will = client_id, will
        self._connection: Connection | None = None
        self.protocol: Protocol
        self.offers = self.connection.offers

    @property
    def connection(self) -> Connection:
        """The one there is, or a new one; raises SinkError."""
        if self._connection is None:
            self._connection, self.protocol = connect(
                self._broker,
                self._spoken,
                client_id=self._client_id,
                will=self._will,
                keepalive=self._keepalive,
            )
            self._spoken = (self.protocol,)
        return self._connection

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> str | None:
        """Return why the broker does not take it; raises SinkError for a loss that has other causes."""
        return self._alone(lambda: self.connection.publish(topic, payload, qos=1, retain=retain))

    def listen(self, topic: str, told: Callable[[Incoming], None]) -> str | None:
        """Return why the broker does not let us; raises SinkError for a loss that has other causes."""
        return self._alone(lambda: self.connection.listen(topic, told, retained=True))

    def wait_for(self, is_so: Callable[[], bool], *, seconds: float) -> None:
        """Wait until what is heard makes it so; on no connection, nothing is."""
        if self._connection is not None:
            self._connection.wait_for(is_so, seconds=seconds)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _alone(self, act: Callable[[], int | None]) -> str | None:
        connection = self.connection
        try:
            mid = act()
            if mid is None:
                return "it is larger than the broker accepts"
            _await(connection, mid)
        except SinkError:
            hung_up = connection.was_hung_up()
            self.close()
            if not hung_up:
                raise
            return HANGS_UP
        no = connection.refused.pop(mid, None) or connection.unheard.pop(mid, None)
        if no:
            self.close()  # some hang up after a no, which is not to be blamed on what is said next
        return no

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _await(connection: Connection, mid: int) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while mid not in connection.acknowledged(timeout=deadline - time.monotonic()):
        if time.monotonic() > deadline:
            raise SinkError("the broker does not answer")
