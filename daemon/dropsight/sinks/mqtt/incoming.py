"""What comes from the broker: messages to us, and what it has retained."""

import time
from collections import deque
from typing import NamedTuple, Self

import paho.mqtt.client as paho

MOST_RETAINED_BYTES = 2**24
# So long a broker may take to tell: all else waits for one that never comes to an end.
RETAINED_SECONDS = 30.0


class Incoming(NamedTuple):
    """A message to us; response topic and correlation are of MQTT 5. `retained`: it was there before us."""

    payload: bytes
    response_topic: str | None
    correlation: bytes | None
    retained: bool = False

    @classmethod
    def of(cls, message: paho.MQTTMessage) -> Self:
        found = message.properties
        response_topic = getattr(found, "ResponseTopic", None)
        correlation = getattr(found, "CorrelationData", None)
        return cls(bytes(message.payload), response_topic, correlation, retained=message.retain)


class RetainedMessages:
    """Topics and payloads in the order they come, to a bound: anybody may publish there."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[str, bytes]] = deque()
        self._left = MOST_RETAINED_BYTES
        self._until = time.monotonic() + RETAINED_SECONDS

    def hear(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        is_wanted = self._left > 0 and time.monotonic() < self._until
        if message.retain and message.payload and is_wanted:
            self._left -= len(message.payload)
            self.waiting.append((message.topic, bytes(message.payload)))
