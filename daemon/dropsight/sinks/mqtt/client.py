"""paho's client, with limits on incoming messages."""

import logging
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

from dropsight.sinks.mqtt.web_socket import FrugalWebSocket

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

log = logging.getLogger(__name__)

# What a broker may send us: commands are short, what it retained of ours is not.
LARGEST_BYTES = 2**20
# Where an answer is to go, and what it answers.
PROPERTY_BYTES = 1_024
# Of all that is no message: answers to one subscription, reasons, a CONNACK's properties.
OTHER_BYTES = 65_536
# Of a message that is too large: more than anything has before its payload, topic, numbers and properties.
HEAD_BYTES = 70_000
PUBLISH = 0x30
_QOS_2 = 0x04
_CHUNK_BYTES = 65_536


class FrugalClient(paho.Client):
    """Leaves out the properties of a message where they are many: paho copies all that follows for each.

    Whoever may publish where we listen could have it be busy for hours with one message.
    """

    property_bytes = PROPERTY_BYTES
    _said = False

    def loop_forever(
        self,
        timeout: float = 1.0,
        retry_first_connection: bool = False,  # noqa: FBT001, FBT002 - paho's
    ) -> MQTTErrorCode:
        """End the connection with a bug in what is called on the way: nobody would hear what comes by it."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except BaseException:
            # It is not the broker's doing, nor that of what was on the way: nobody keeps it alive.
            self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_KEEPALIVE)
            raise

    def _create_socket(self) -> "SocketLike":
        if self._transport != "websockets":
            return super()._create_socket()
        plain = self._create_socket_connection()
        if self._ssl:
            plain = self._ssl_wrap_socket(plain)
        try:
            return FrugalWebSocket(
                plain,
                seconds=self.connect_timeout,
                host=self._host,
                port=self._port,
                is_ssl=self._ssl,
                path=self._websocket_path,
                extra_headers=self._websocket_extra_headers,
            )
        except BaseException:
            plain.close()
            raise

    def _sock_recv(self, bufsize: int) -> bytes:
        packet = self._in_packet
        if packet["have_remaining"] and packet["command"] & 0xF0 != PUBLISH and bufsize > OTHER_BYTES:
            log.warning("disconnected from the broker: it was sending a packet of %d bytes", bufsize)
            raise ConnectionAbortedError
        return super()._sock_recv(bufsize)

    def _read_over(self, bufsize: int) -> bytes:
        """Keep of a message that is being read no more than its beginning."""
        packet = self._in_packet
        if (kept := len(packet["packet"])) < HEAD_BYTES:
            return FrugalClient._sock_recv(self, min(bufsize, HEAD_BYTES - kept))
        data = FrugalClient._sock_recv(self, min(bufsize, _CHUNK_BYTES))
        packet["to_process"] -= max(len(data) - 1, 0)
        return data[:1]

    def _handle_publish(self) -> MQTTErrorCode:
        if self._in_packet["command"] & _QOS_2:
            log.warning("disconnected from the broker: it sends at QoS 2, for which nobody asked")
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            numbered = bool(self._in_packet["command"] & 0x06)
            packet = self._in_packet["packet"]
            frugal = _frugal(packet, numbered=numbered, most=self.property_bytes)
            if frugal is not packet and self.property_bytes and not self._said:
                self._said = True
                log.warning("left out a message's properties, of more than %d bytes", self.property_bytes)
            self._in_packet["packet"] = frugal
        return super()._handle_publish()


class BoundedClient(FrugalClient):
    """Keeps of a message that is too large no more than its beginning, which nobody understands.

    In MQTT 5 brokers are asked not to send any; those of 3.1.1 cannot be. To hang up would be a disservice to
    all that is on its way to the broker: whoever may publish where we listen could have us do so for ever.
    """

    def _sock_recv(self, bufsize: int) -> bytes:
        packet = self._in_packet
        if packet["command"] & 0xF0 == PUBLISH and packet["remaining_length"] > LARGEST_BYTES:
            return self._read_over(bufsize)
        return super()._sock_recv(bufsize)


def _frugal(packet: bytearray, *, numbered: bool, most: int) -> bytearray:
    """Return a PUBLISH of MQTT 5 (3.3.2) without its properties where these take more bytes than that."""
    start, size, end = properties_of(packet, numbered=numbered)
    return packet if size <= most else packet[:start] + b"\0" + packet[end:]


def properties_of(packet: bytearray, *, numbered: bool) -> tuple[int, int, int]:
    """Return of a PUBLISH of MQTT 5 where the count of its properties begins, it, and where these end."""
    start = after_topic(packet, numbered=numbered)
    size, end = 0, start
    for place, byte in enumerate(packet[start : start + 4]):
        size, end = size | (byte & 0x7F) << 7 * place, end + 1
        if not byte & 0x80:
            break
    return start, size, end + size


def after_topic(packet: bytearray, *, numbered: bool) -> int:
    """Return where a PUBLISH goes on behind its topic and its number."""
    return 2 + int.from_bytes(packet[:2]) + 2 * numbered
