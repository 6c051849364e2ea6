"""paho's client, with limits on incoming messages, and short ways for what comes and goes by the hundred."""

import logging
import socket
from typing import TYPE_CHECKING, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from dropsight.sinks.dialling import dial, dial_unix
from dropsight.sinks.mqtt.paho_socket import Wire
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
# Reasons of a PUBACK that are no refusal: it is there, or there and nobody listens (MQTT 5, 3.4.2.1).
_TAKEN = (0x00, 0x10)
# EMQX says the former, which MQTT 5 has for connections alone: paho does not know it there.
_RATE_EXCEEDED, _QUOTA_EXCEEDED = 0x9F, 0x97
_SUCCESS = ReasonCode(PacketTypes.PUBACK)
_NO_PROPERTIES = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]
# Acknowledgements of nothing that was sent: a broker that goes on with them has us work for nothing.
MOST_STRAY = 1_000
# A broker may wait for no more acknowledgements than there are numbers (MQTT 5, 3.3.4).
MOST_UNSENT = 65_535
# What needs no acknowledgement waits for those before it.
MOST_QUEUED = 100


class FrugalClient(paho.Client):
    """Leaves out the properties of a message where they are many: paho copies all that follows for each.

    Whoever may publish where we listen could have it be busy for hours with one message.
    """

    property_bytes = PROPERTY_BYTES
    wire: Wire
    """Its socket, once it is connected."""
    _said = False
    _strays = 0

    def has_place(self, window: int) -> bool:
        """Whether fewer messages than that are unacknowledged, and not too many have yet to go out."""
        with self._out_message_mutex:
            return len(self._out_messages) < window and len(self._out_packet) < MOST_QUEUED

    def end(self) -> None:
        """Let go of the connection, which is not the broker's doing, nor that of what was on the way."""
        self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_KEEPALIVE)

    def _create_socket(self) -> Wire:
        plain = self._transport != "websockets" and not self._ssl
        self.wire = Wire(self._make_socket(), plain=plain)
        return self.wire

    def _make_socket(self) -> "SocketLike":
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

    def _create_socket_connection(self) -> socket.socket:
        if self._get_proxy():
            return super()._create_socket_connection()
        return dial(self._host, self._port, seconds=self.connect_timeout)

    def _create_unix_socket_connection(self) -> socket.socket:
        return dial_unix(self._host, seconds=self.connect_timeout)

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > OTHER_BYTES:
            packet = self._in_packet
            if packet["have_remaining"] and packet["command"] & 0xF0 != PUBLISH:
                log.warning("disconnected from the broker: it was sending a packet of %d bytes", bufsize)
                raise ConnectionAbortedError
        return self.wire.recv(bufsize)

    def _sock_send(self, buf: bytes | bytearray) -> int:
        return self.wire.send(buf, more=self.want_write())  # the queue has those behind this one

    def _handle_connack(self) -> MQTTErrorCode:
        """Ask for life no less often than was set, whatever the broker would rather have.

        It may say "never" (MQTT 5, 3.2.2.3.14): then nobody would find out that the connection is cut off.
        """
        wished = self._keepalive
        code = super()._handle_connack()
        self._keepalive = min(self._keepalive or wished, wished)
        return code

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """Hear of one that is taken; paho decodes the others, without their properties: nobody asks."""
        packet = self._in_packet["packet"]
        is_5 = self._protocol == MQTTProtocolVersion.MQTTv5
        if cmd != "PUBACK" or len(packet) < 2 or (len(packet) > 2 and not is_5):
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        mid = packet[0] << 8 | packet[1]
        if mid not in self._out_messages:
            return self._note_stray()
        if len(packet) == 2 or packet[2] in _TAKEN:
            with self._out_message_mutex:
                return self._do_on_publish(mid, _SUCCESS, _NO_PROPERTIES)
        if packet[2] == _RATE_EXCEEDED:
            packet[2] = _QUOTA_EXCEEDED
        del packet[3:]
        self._in_packet["remaining_length"] = len(packet)
        return super()._handle_pubackcomp(cmd)

    def _note_stray(self) -> MQTTErrorCode:
        self._strays += 1
        if self._strays <= MOST_STRAY:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        log.warning("disconnected from the broker: it acknowledged a message that was never sent")
        return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _handle_pingreq(self) -> MQTTErrorCode:
        return MQTTErrorCode.MQTT_ERR_PROTOCOL  # clients alone send it; answers nobody reads would pile up

    def _send_puback(self, mid: int) -> MQTTErrorCode:
        if len(self._out_packet) < MOST_UNSENT:
            return super()._send_puback(mid)
        log.warning("disconnected from the broker: it goes on sending, and reads no acknowledgement")
        return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _handle_suback(self) -> None:
        self._leave_out_properties()
        super()._handle_suback()

    def _handle_unsuback(self) -> MQTTErrorCode:
        self._leave_out_properties()
        return super()._handle_unsuback()

    def _handle_pubrec(self) -> MQTTErrorCode:
        return MQTTErrorCode.MQTT_ERR_PROTOCOL  # of QoS 2, at which nothing is sent

    def _handle_pubrel(self) -> MQTTErrorCode:
        return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _leave_out_properties(self) -> None:
        """Of an answer that has a number alone before its properties."""
        packet = self._in_packet["packet"]
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            _, end = _property_size(packet, 2)
            packet[2:end] = b"\0"
            self._in_packet["remaining_length"] = len(packet)

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
            log.warning(
                "disconnected from the broker: it sent a message at QoS 2, which was not subscribed to"
            )
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            numbered = bool(self._in_packet["command"] & 0x06)
            packet = self._in_packet["packet"]
            frugal = _frugal(packet, numbered=numbered, most=self.property_bytes)
            if frugal is not packet and self.property_bytes and not self._said:
                self._said = True
                log.warning(
                    "ignored the properties of an MQTT message: more than %d bytes", self.property_bytes
                )
            self._in_packet["packet"] = frugal
        return super()._handle_publish()


class BoundedClient(FrugalClient):
    """Keeps of a message that is too large no more than its beginning, which nobody understands.

    In MQTT 5 brokers are asked not to send any; those of 3.1.1 cannot be. To hang up would be a disservice to
    all that is on its way to the broker: whoever may publish where we listen could have us do so for ever.
    """

    def _sock_recv(self, bufsize: int) -> bytes:
        packet = self._in_packet
        if packet["remaining_length"] > LARGEST_BYTES and packet["command"] & 0xF0 == PUBLISH:
            return self._read_over(bufsize)
        return super()._sock_recv(bufsize) if bufsize > OTHER_BYTES else self.wire.recv(bufsize)


def _frugal(packet: bytearray, *, numbered: bool, most: int) -> bytearray:
    """Return a PUBLISH of MQTT 5 (3.3.2) without its properties where these take more bytes than that."""
    start, size, end = properties_of(packet, numbered=numbered)
    return packet if size <= most else packet[:start] + b"\0" + packet[end:]


def properties_of(packet: bytearray, *, numbered: bool) -> tuple[int, int, int]:
    """Return of a PUBLISH of MQTT 5 where the count of its properties begins, it, and where these end."""
    start = after_topic(packet, numbered=numbered)
    return start, *_property_size(packet, start)


def _property_size(packet: bytearray, start: int) -> tuple[int, int]:
    """Return the count of the properties that stands there (MQTT 5, 2.2.2.1), and where these end."""
    size, end = 0, start
    for place, byte in enumerate(packet[start : start + 4]):
        size, end = size | (byte & 0x7F) << 7 * place, end + 1
        if not byte & 0x80:
            break
    return size, end + size


def after_topic(packet: bytearray, *, numbered: bool) -> int:
    """Return where a PUBLISH goes on behind its topic and its number."""
    return 2 + int.from_bytes(packet[:2]) + 2 * numbered
