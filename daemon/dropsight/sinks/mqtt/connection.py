"""One connection to a broker, from CONNECT to its loss."""

import logging
import ssl
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from dropsight.errors import SinkError
from dropsight.sinks.mqtt.broker import Broker, Protocol
from dropsight.sinks.mqtt.client import LARGEST_BYTES, BoundedClient, FrugalClient
from dropsight.sinks.mqtt.incoming import Incoming, RetainedMessages
from dropsight.sinks.mqtt.network import Network
from dropsight.sinks.mqtt.offers import ALL, Offers
from dropsight.sinks.mqtt.refusals import reason_of, refusal
from dropsight.sinks.mqtt.tls_errors import reason

log = logging.getLogger(__name__)

CONNECT_SECONDS = 30.0
# Brokers of 3.1.1 may meet a CONNECT of MQTT 5 with silence.
CONNACK_SECONDS: Mapping[Protocol, float] = {"5": 8.0, "3.1.1": 30.0}
QUIET_SECONDS = 2.0
# So long the answer to a question may take, by a slow link: only then is silence one.
ANSWER_SECONDS = 10.0
CLOSED_SECONDS = 1.0
MOST_RETAINED = 1_000
VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
_FAILURE = 0x80
# Reasons of a broker or a network for a goodbye that have nothing to do with what we said (MQTT 5, 3.14.2.1).
_TAKEN_OVER = 0x8E
_NO_FAULT_OF_OURS = {0x89, 0x8B, 0x8D, _TAKEN_OVER, 0x9C, 0x9D, 0xA0}


class Connection:
    """Thread-safe. All that is published goes out here, within what the broker `offers`.

    Whoever waits for it reads and writes meanwhile; see `Network` for the other times.
    """

    _clean_start: bool | Literal[3] = paho.MQTT_CLEAN_START_FIRST_ONLY
    _alone = False
    """Whether a thread of its own reads and writes at all times."""

    def __init__(
        self,
        broker: Broker,
        protocol: Protocol,
        *,
        client_id: str,
        will: tuple[str, bytes] | None,
        keepalive: int,
        offers: Offers = ALL,
    ) -> None:
        self._broker, self._protocol, self._keepalive = broker, protocol, keepalive
        self._client_id = client_id
        self.offers = offers
        self._blameless = self.taken_over = False
        """Whether the broker has said that another has logged in by our client id."""
        self._changed = threading.Condition()
        self._answer: tuple[int, str] | None = None
        self._closed: str | None = None
        self._acknowledged: deque[int] = deque()
        self.refused: dict[int, str] = {}
        self.unheard: dict[int, str] = {}
        self._woken = False
        self._asked_for: dict[int | None, str] = {}
        self._asking = threading.Lock()
        self._client = self._make_client(will)
        self._network = Network(
            self._client, name=client_id, keepalive=keepalive, changed=self._changed, alone=self._alone
        )

    def open(self) -> None:
        """Connect and wait for the CONNACK; raises SinkError, or one of its kinds in refusals.py."""
        try:
            host, port = self._broker.host, self._broker.port or 1883
            self._client.connect(
                host, port, self._keepalive, clean_start=self._clean_start, properties=self._demands()
            )
        except (OSError, ssl.SSLError, ValueError, paho.WebsocketConnectionError) as error:
            raise SinkError(f"{self._broker.shown} cannot be reached: {reason(error)}") from error
        self._network.start()
        self.wait_for(lambda: bool(self._answer or self._closed), seconds=CONNACK_SECONDS[self._protocol])
        answer, closed = self._answer, self._closed
        if answer is not None and answer[0] == 0:
            return
        self.close()
        raise refusal(self._broker, self._protocol, self.offers, answer, closed=closed is not None)

    def publish(
        self, topic: str, payload: bytes, *, qos: int, retain: bool = False, correlation: bytes | None = None
    ) -> int | None:
        """Queue a message and return its number, None where it is too large for the broker.

        It goes out with the next `send`, or once something is waited for. Raises SinkError once the
        connection is lost.
        """
        room = self.offers.room(topic)
        if room is not None and len(payload) + len(correlation or b"") > room:
            return None
        qos, retain = min(qos, self.offers.qos), retain and self.offers.retain
        properties = None
        if correlation is not None and self._protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._lost()
        return info.mid

    @property
    def has_place(self) -> bool:
        """Whether the broker takes one more beside those that it has not acknowledged (MQTT 5, 3.3.4)."""
        return self._client.has_place(self.offers.window)

    @property
    def tells_refusals(self) -> bool:
        """Whether an acknowledgement may be a no; else brokers acknowledge what they throw away."""
        return self._protocol == "5"

    def send(self) -> None:
        """Send what is queued, before there is something else to do than to wait."""
        self._network.send()

    def listen(self, topic: str, told: Callable[[Incoming], None], *, retained: bool = False) -> int | None:
        """Subscribe, and return the number that the answer will have among what is `acknowledged`.

        `told` is called by whoever reads; of what the broker had `retained` only if asked for.
        """

        def on_message(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
            if retained or not message.retain:
                told(Incoming.of(message))

        self._client.message_callback_add(topic, on_message)
        return self._subscribe(topic, qos=1)

    def retained(
        self,
        *filters: str,
        expected: Collection[str] = (),
        began: Callable[[int], None] = lambda _mid: None,
    ) -> dict[str, bytes]:
        """Ask what is retained under these topics, or a part of it where it is much.

        No broker says when it has told all: it has when all that is `expected` is there, or nothing came for
        a while after it has answered. `began` is called with the numbers that the answers will have among
        what is `acknowledged`. Raises SinkError for a loss, after which nobody knows what else there is.
        """
        heard, asked = RetainedMessages(), list[int]()
        for topic in filters:
            self._client.message_callback_add(topic, heard.hear)
            mid = self._subscribe(topic, qos=0)
            if mid is not None:
                asked.append(mid)
                began(mid)
        self.wait_for(
            lambda: bool(heard.waiting) or not any(mid in self._asked_for for mid in asked),
            seconds=ANSWER_SECONDS,
        )
        found: dict[str, bytes] = {}
        while len(found) < MOST_RETAINED and not (expected and found.keys() >= set(expected)):
            self.wait_for(lambda: bool(heard.waiting), seconds=QUIET_SECONDS)
            if not heard.waiting:
                break
            found.update(heard.waiting.popleft() for _ in range(len(heard.waiting)))
        if self._closed:
            raise self._lost()
        for topic in filters:
            self._client.unsubscribe(topic)
            self._client.message_callback_remove(topic)
        return found

    def _subscribe(self, topic: str, *, qos: int) -> int | None:
        with self._asking:  # the answer may be there before it is known what it answers
            mid = self._client.subscribe(topic, qos=qos)[1]
            self._asked_for[mid] = topic
        return mid

    def acknowledged(self, *, timeout: float) -> Sequence[int]:
        """Wait for PUBACKs, a `wake` or the timeout; raises SinkError for a loss.

        A negative PUBACK is among them, too: its reason is in `refused`. So are answers to `listen`, the
        reasons of negative ones in `unheard`.
        """
        self._network.wait_for(
            lambda: bool(self._acknowledged or self._woken or self._closed), seconds=timeout
        )
        self._woken = False
        mids = self.heard()
        if self._closed and not mids:
            raise self._lost()
        return mids

    def heard(self) -> Sequence[int]:
        """Return what is `acknowledged` already, also of a connection that is lost."""
        return [self._acknowledged.popleft() for _ in range(len(self._acknowledged))]

    def was_hung_up(self) -> bool:
        """Whether it was lost without a reason that has nothing to do with what was said on it."""
        self.wait_for(lambda: self._closed is not None, seconds=CLOSED_SECONDS)
        return self._closed is not None and not self._blameless

    def wait_for(self, is_so: Callable[[], bool], *, seconds: float) -> None:
        """Wait until what is heard makes it so, or the connection is lost."""
        self._network.wait_for(is_so, seconds=seconds)

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()
        self._network.wake()

    def close(self) -> None:
        """Say goodbye, without the last will, and give everything back."""
        self._client.disconnect()
        self._network.stop()

    def _demands(self) -> Properties | None:
        if self._protocol != "5":
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = LARGEST_BYTES
        return properties

    def _new_client(self) -> FrugalClient:
        return BoundedClient(
            CallbackAPIVersion.VERSION2,
            # Of an earlier connection that it may still have, the broker ends the session, last will and
            # all, before it lets us in; and begins a clean one, whose acknowledgements are all ours.
            client_id=self._client_id,
            protocol=VERSIONS[self._protocol],
            transport=self._broker.transport,
            reconnect_on_failure=False,
        )

    def _make_client(self, will: tuple[str, bytes] | None) -> FrugalClient:
        client = self._new_client()
        client.connect_timeout = CONNECT_SECONDS
        # No bound of paho's, for which it looks through all in flight at each PUBACK: `window` is ours.
        client.max_inflight_messages_set(0)
        if will is not None:
            # Retained and empty, it would take away what is retained.
            client.will_set(
                will[0], will[1], qos=self.offers.qos, retain=bool(will[1]) and self.offers.retain
            )
        if self._broker.username is not None or self._broker.password is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls)
        if self._broker.transport == "websockets":
            client.ws_set_options(path=self._broker.path)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    def _on_connect(
        self, _client: paho.Client, _data: object, _flags: object, code: ReasonCode, found: Properties | None
    ) -> None:
        with self._changed:
            self._answer = (int(code.value) if code.is_failure else 0, reason_of(code))
            if not code.is_failure:
                self.offers = self.offers.told(found)
            self._changed.notify_all()

    def _on_disconnect(
        self, _client: paho.Client, _data: object, _flags: object, code: ReasonCode, _found: object
    ) -> None:
        with self._changed:
            self._closed, self._blameless = reason_of(code), code.value in _NO_FAULT_OF_OURS
            self.taken_over = code.value == _TAKEN_OVER
            self._changed.notify_all()

    def _on_publish(
        self, _client: paho.Client, _data: object, mid: int, code: ReasonCode, _found: object
    ) -> None:
        if code.value >= _FAILURE:
            self.refused[mid] = reason_of(code)
        self._acknowledged.append(mid)

    def _on_subscribe(
        self, _client: paho.Client, _data: object, mid: int, codes: Sequence[ReasonCode], _found: object
    ) -> None:
        with self._asking:
            topic = self._asked_for.pop(mid, None)
        if topic is None:  # of one to what nobody asked for, nothing is kept
            return
        for code in filter(lambda code: code.is_failure, codes[:1]):
            log.warning("the broker denied the subscription to %s: %s", topic, reason_of(code))
            self.unheard[mid] = reason_of(code)
        self._acknowledged.append(mid)

    def _lost(self) -> SinkError:
        if self.taken_over:
            return SinkError(
                f"{self._broker.shown}: another client connected with the client id {self._client_id}, so the"
                " broker closed our connection"
            )
        return SinkError(f"{self._broker.shown}: connection lost: {self._closed or 'closed'}")
