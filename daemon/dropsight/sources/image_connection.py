"""A connection that images come in by: its session lasts, and what is not acknowledged comes again."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from dropsight.sinks.mqtt.broker import Broker, Protocol
from dropsight.sinks.mqtt.client import HEAD_BYTES, PUBLISH, FrugalClient, after_topic, properties_of
from dropsight.sinks.mqtt.connection import VERSIONS, Connection

# For so long the broker keeps what arrives while we are away, where it speaks MQTT 5.
SESSION_SECONDS = 86_400
WINDOW = 16


class Arrival(NamedTuple):
    """`topic` is None where it is no text; of one too large in `size`, `payload` is but a part."""

    topic: str | None
    payload: bytes | bytearray
    size: int
    number: int
    qos: int
    again: bool
    retained: bool


class ImageClient(FrugalClient):
    """Keeps of a message that is too large no more than its beginning: it has to be acknowledged, too.

    In MQTT 5 brokers are asked not to send any; those of 3.1.1 cannot be, and would send it again for ever.
    Before a message is read, `wait_for_room` is called with its size; when it was handed over, `leave_room`.
    """

    most_bytes = property_bytes = 0
    wait_for_room: Callable[[int], None]
    leave_room: Callable[[], None]
    payload: bytes | bytearray = b""
    """Of the message that is being handed over: paho's own is empty, for it would copy it three times."""

    @property
    def arriving_bytes(self) -> int:
        """How large the message is that is being handed over."""
        return int(self._in_packet["remaining_length"])

    def forget(self) -> None:
        """Let go of what was read of a message; paho would not."""
        self._in_packet["packet"] = bytearray()

    def _sock_recv(self, bufsize: int) -> bytes:
        packet = self._in_packet
        if not packet["have_remaining"]:
            return super()._sock_recv(bufsize)
        kept, most = len(packet["packet"]), self.most_bytes + HEAD_BYTES
        if not kept and packet["command"] & 0xF0 == PUBLISH:
            self.wait_for_room(
                packet["remaining_length"] if packet["remaining_length"] <= most else HEAD_BYTES
            )
        return super()._sock_recv(bufsize) if packet["remaining_length"] <= most else self._read_over(bufsize)

    def _handle_publish(self) -> MQTTErrorCode:
        packet, numbered = self._in_packet["packet"], bool(self._in_packet["command"] & 0x06)
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            start, _, end = properties_of(packet, numbered=numbered)
            head = packet[:start] + b"\0"
        else:
            end = after_topic(packet, numbered=numbered)
            head = packet[:end]
        del packet[:end]
        self._in_packet["packet"], self.payload = head, packet
        try:
            return super()._handle_publish()
        finally:
            self.payload = b""
            self.leave_room()


class MessageMemory:
    """Thread-safe. What all messages in memory may take together, of `most_bytes` each at most.

    Who asks first has it first, or a large one would wait for as long as small ones come.
    """

    def __init__(self, most_bytes: int) -> None:
        self._changed = threading.Condition()
        self.most_bytes, self._held = most_bytes, 0
        self._turns: deque[object] = deque()

    def take(self, size: int, *, unless: Callable[[], bool]) -> None:
        """Wait until there is so much."""
        turn = object()
        with self._changed:
            self._turns.append(turn)
            self._changed.wait_for(lambda: unless() or (self._turns[0] is turn and self._fits(size)))
            self._turns.remove(turn)
            self._held += size
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return not self._held or self._held + size <= self.most_bytes

    def give_back(self, size: int) -> None:
        with self._changed:
            self._held -= size
            self._changed.notify_all()


class ImageConnection(Connection):
    """`next` hands over one after the other, of which the caller keeps none when it asks for another.

    While there is no room for what comes, nothing is read.
    """

    _alone = True

    def __init__(
        self,
        broker: Broker,
        protocol: Protocol,
        *,
        client_id: str,
        keepalive: int,
        room: MessageMemory,
        lasting: bool,
    ) -> None:
        self._most_bytes, self._room, self._lasting = room.most_bytes, room, lasting
        if protocol == "5":
            self._clean_start = not lasting
        self.had_session = False
        self.kept_seconds = SESSION_SECONDS
        """For so long the broker keeps what arrives while we are away, as far as it says."""
        self._arrived: deque[Arrival] = deque()
        # Of the message that is being read, of those that wait, and of the one that the caller has.
        self._reading = self._waiting = self._last = 0
        self._answers: list[ReasonCode] = []
        self._ended = False
        super().__init__(broker, protocol, client_id=client_id, will=None, keepalive=keepalive)

    @property
    def asks_anew(self) -> bool:
        """Whether to subscribe to the same again does no harm."""
        return self._protocol == "5"

    @property
    def is_lost(self) -> bool:
        return self._closed is not None

    def next(self, *, timeout: float) -> Arrival | None:
        """Wait for one, an answer, a `wake` or the timeout; raises SinkError once the connection is lost."""
        with self._changed:
            self._let_go()
            if not (self._arrived or self._answers or self._woken or self._closed):
                self._changed.wait(timeout)
            self._woken = False
            while self._arrived:
                arrival = self._arrived.popleft()
                self._last = len(arrival.payload)
                self._waiting -= self._last
                self._changed.notify_all()
                if not (self._closed and arrival.qos):  # which the broker sends again
                    return arrival
                self._let_go()
            if self._closed:
                raise self._lost()
        return None

    def _let_go(self) -> None:
        self._room.give_back(self._last)
        self._last = 0

    def acknowledge(self, arrival: Arrival) -> None:
        if arrival.qos:
            self._client.ack(arrival.number, arrival.qos)
            self.send()

    def subscribe(self, topics: str) -> None:
        """Ask for what arrives there; what the broker says to it is among the `answers`.

        Of what we are subscribed to already, a broker of MQTT 5 does not send once more what it retained. It
        says, too, what was published to be retained, as bridges do again at each of their connections.
        """
        qos = min(1, self.offers.qos)
        how: dict[str, Any] = {"qos": qos}
        if self.asks_anew:
            new_only = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            how = {"options": SubscribeOptions(qos, retainAsPublished=True, retainHandling=new_only)}
        with self._asking:  # the answer may be there before it is known what it answers
            self._asked_for[self._client.subscribe(topics, **how)[1]] = topics
        self.send()

    def unsubscribe(self, topics: str) -> None:
        self._client.unsubscribe(topics)
        self.send()

    def answers(self) -> Sequence[ReasonCode]:
        with self._changed:
            answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._room.give_back(0)  # for who waits for it to see
        super().close()
        self._arrived.clear()
        if isinstance(self._client, ImageClient):
            self._client.forget()
        self._room.give_back(self._reading + self._waiting + self._last)
        self._reading = self._waiting = self._last = 0

    def _demands(self) -> Properties | None:
        if self._protocol != "5":
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = min(self._most_bytes + HEAD_BYTES, 2**32 - 1)
        properties.ReceiveMaximum = WINDOW
        properties.SessionExpiryInterval = SESSION_SECONDS if self._lasting else 0
        return properties

    def _new_client(self) -> ImageClient:
        client = ImageClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if self._protocol == "5" else not self._lasting,
            protocol=VERSIONS[self._protocol],
            transport=self._broker.transport,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.most_bytes = self._most_bytes
        client.wait_for_room, client.leave_room = self._wait_for_room, self._leave_room
        client.on_message = self._on_message
        return client

    def _on_connect(
        self,
        client: paho.Client,
        data: object,
        flags: object,
        code: ReasonCode,
        found: Properties | None,
    ) -> None:
        self.had_session = bool(getattr(flags, "session_present", False))
        self.kept_seconds = getattr(found, "SessionExpiryInterval", SESSION_SECONDS)
        super()._on_connect(client, data, flags, code, found)

    def _on_subscribe(
        self, _client: paho.Client, _data: object, mid: int, codes: Sequence[ReasonCode], _found: object
    ) -> None:
        with self._asking:
            topics = self._asked_for.pop(mid, None)
        with self._changed:  # of one to what nobody asked for, nothing is kept
            self._answers += codes[:1] if topics is not None else []
            self._changed.notify_all()

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if not isinstance(client, ImageClient):
            return
        arrival = _arrival(client, message)
        size = len(arrival.payload)
        with self._changed:
            self._arrived.append(arrival)
            self._reading, self._waiting = self._reading - size, self._waiting + size
            self._changed.notify_all()

    def _leave_room(self) -> None:
        """What is left of it, or all where it was no message for us."""
        self._room.give_back(self._reading)
        self._reading = 0

    def _wait_for_room(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._arrived) < WINDOW)
        self._room.take(size, unless=lambda: self._ended)
        self._reading = size


def _arrival(client: ImageClient, message: paho.MQTTMessage) -> Arrival:
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic = None
    payload = client.payload
    size = max(len(payload), client.arriving_bytes - HEAD_BYTES)
    return Arrival(topic, payload, size, message.mid, message.qos, message.dup, message.retain)
