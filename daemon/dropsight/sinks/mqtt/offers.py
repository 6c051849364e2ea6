"""What a broker supports according to its CONNACK (MQTT 5, 3.2.2.3); MQTT 3.1.1 has no such information."""

from typing import Final

import msgspec
from msgspec.structs import replace
from paho.mqtt.properties import Properties

WINDOW = 100
# Fixed header, topic length, packet id, properties length: more than a PUBLISH needs around its parts.
_OVERHEAD_BYTES = 16
# Reason codes of a CONNACK that refuses our last will for how it is to be kept or sent.
_NO_RETAIN, _NO_QOS = 0x9A, 0x9B


class Offers(msgspec.Struct, frozen=True):
    """`window`: how many unacknowledged messages it takes; `largest_bytes`: its Maximum Packet Size."""

    window: int = WINDOW
    largest_bytes: int | None = None
    qos: int = 1
    retain: bool = True

    def told(self, found: Properties | None) -> "Offers":
        """Return these as far as a CONNACK does not say otherwise."""
        return Offers(
            window=min(WINDOW, getattr(found, "ReceiveMaximum", WINDOW)),
            largest_bytes=getattr(found, "MaximumPacketSize", None),
            qos=min(self.qos, getattr(found, "MaximumQoS", self.qos)),
            retain=self.retain and bool(getattr(found, "RetainAvailable", 1)),
        )

    def without(self, refusal: int) -> "Offers | None":
        """Return what is left to ask for after this refusal, None where it is not for our asking too much."""
        if refusal == _NO_RETAIN and self.retain:
            return replace(self, retain=False)
        if refusal == _NO_QOS and self.qos:
            return replace(self, qos=0)
        return None

    def room(self, topic: str) -> int | None:
        """How many bytes a message on this topic may have."""
        if self.largest_bytes is None:
            return None
        return self.largest_bytes - len(topic.encode()) - _OVERHEAD_BYTES

    @property
    def lacking(self) -> str:
        """What the broker does not support, for people."""
        retain = "does not support retained messages" if not self.retain else ""
        qos = "supports QoS 0 only: messages may be lost on the way" if not self.qos else ""
        return " and ".join(filter(None, (retain, qos)))


ALL: Final = Offers()
