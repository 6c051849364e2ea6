"""How announcements are sent: within the broker's limits, and alone if a connection was lost over them."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import msgspec

from dropsight.errors import SinkError
from dropsight.names import as_json
from dropsight.sinks.mqtt.connection import Connection
from dropsight.sinks.mqtt.in_flight import InFlight
from dropsight.sinks.mqtt.incoming import Incoming
from dropsight.sinks.mqtt.suspects import READING, SUBSCRIBING, SuspectMessages
from dropsight.status.troubles import Troubles

log = logging.getLogger(__name__)

PART = "announcements"
# A broker that answers nothing for so long has not hung up either; at one connection only once for so long.
ALONE_SECONDS, SILENT_SECONDS = 10.0, 1.0
# So many places are the records' own, half of fewer than twenty: announcements may never be answered.
RECORD_PLACES = 10
NAMED = 8


class Unpublished(msgspec.Struct):
    """What the broker does not get, over all connections; `count` since the start. Read by any thread."""

    suspects: SuspectMessages
    troubles: Troubles
    count: int = 0
    too_large: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def reasons(self) -> list[str]:
        """One line each."""
        return list(_reasons(self.suspects.aside, self.suspects.held, sorted(self.too_large.items())))

    def say(self) -> None:
        """Have status and log name what stays untold at the moment: the first of it, and how much more.

        It may be said of each of ten thousand cameras, one after the other, so nothing is sorted.
        """
        aside, held = self.suspects.aside, self.suspects.held
        count = len(aside) + len(held) + len(self.too_large)
        if not count:
            self.troubles.cleared(PART)
            return
        more = f"; and {count - NAMED} more" if count > NAMED else ""
        told = "; ".join(islice(_reasons(aside, held, self.too_large.items()), NAMED))
        self.troubles.raised(PART, SinkError(f"the broker does not accept all announcements: {told}{more}"))


def _reasons(
    aside: Iterable[str], held: Iterable[str], too_large: Iterable[tuple[str, int]]
) -> Iterator[str]:
    for topic in aside:
        yield f"{topic}: it disconnects on this"
    for topic in held:
        yield f"{topic}: it disconnected on this; tried again once it takes something else"
    for topic, size in too_large:
        yield f"{topic}: {size:,} bytes are more than it accepts"


class Announcer:
    """For the session's thread. `settle` takes note of acknowledgements while one is waited for.

    `give_way` sends a record, and tells whether any waited. `seconds_left`: for so long something may be
    waited for.
    """

    def __init__(
        self,
        connection: Connection,
        flight: InFlight,
        untold: Unpublished,
        *,
        settle: Callable[[Sequence[int]], None],
        give_way: Callable[[], bool],
        seconds_left: Callable[[], float],
    ) -> None:
        self._connection, self._flight, self._untold = connection, flight, untold
        self._settle, self._give_way, self._seconds_left = settle, give_way, seconds_left
        self._patience_seconds = ALONE_SECONDS
        window = connection.offers.window
        self._most = window - min(window // 2, RECORD_PLACES)
        self.is_waiting = False
        """Whether one waits for a place."""

    def tell(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = True,
        correlation: bytes | None = None,
        spare: Sequence[str] = (),
    ) -> int | None:
        """Publish and return the message's number, None where the broker is not to get or acknowledge it.

        With a `qos` of 0 it is acknowledged all the same where it may be what a connection was lost over.
        Without it, where there is no time left to wait for a place among those that the broker grants.
        `spare` are keys of the payload that are left out, one after the other, until it fits. Raises
        SinkError for a lost connection.
        """
        suspects = self._untold.suspects
        key = suspects.key_of(topic)
        if suspects.rests(key) or suspects.rests(topic):
            self._untold.count += 1
            return None
        if self._flight.is_held(key):
            return None
        room = self._connection.offers.room(topic)
        fitting = payload if room is None else fitted(payload, room, spare)
        if fitting is None:
            self._untold.count += 1
            self._untold.too_large[topic] = len(payload)
            self._untold.say()
            return None
        if self._untold.too_large.pop(topic, None) is not None:
            self._untold.say()
        alone = self._is_alone(key)
        qos = int((qos or alone) and self._has_place())
        send = partial(
            self._connection.publish, topic, fitting, qos=qos, retain=retain, correlation=correlation
        )
        if qos:
            return self._send(key, send, alone=alone)
        mid = self._flight.depart(key, send)
        if mid is not None and self._connection.offers.qos:
            self._flight.began_silently(mid, key)
        return None

    def listen(self, topic: str, told: Callable[[Incoming], None], *, retained: bool = False) -> None:
        """Subscribe, unless the broker hangs up on that."""
        key = f"{SUBSCRIBING}{topic}"
        if not (self._untold.suspects.rests(key) or self._flight.is_held(key)):
            send = partial(self._connection.listen, topic, told, retained=retained)
            self._send(key, send, alone=self._is_alone(key))

    def retained(self, topic: str, *, expected: Collection[str]) -> Mapping[str, bytes]:
        """Ask what is retained, unless the broker hangs up on that, until all is there that is expected."""
        key = f"{READING}{topic}"
        if self._untold.suspects.rests(key) or self._flight.is_held(key):
            return {}
        alone = self._is_alone(key)
        found = self._connection.retained(
            topic, expected=expected, began=lambda mid: self._flight.began(mid, key)
        )
        if alone:
            self._wait_until_all_landed()
            self._untold.say()
        return found

    def let_all_land(self) -> None:
        """Raises SinkError for a loss, and where the broker acknowledges nothing for too long."""
        while self._flight and (left := min(self._seconds_left(), ALONE_SECONDS)) > 0:
            self._settle(self._connection.acknowledged(timeout=left))

    def _send(self, key: str, send: Callable[[], int | None], *, alone: bool) -> int | None:
        mid = self._flight.depart(key, send)
        if mid is not None and self._connection.offers.qos:
            self._flight.began(mid, key)
            if alone:
                self._wait_until_all_landed()
                self._untold.say()
        return mid

    def _is_alone(self, key: str) -> bool:
        """Whether it has to be, as a connection may have been lost over it: then it is; raises SinkError.

        The records that wait go before.
        """
        if is_suspect := self._untold.suspects.suspects(key):
            while self._give_way():
                pass
            self._wait_until_all_landed()
        return is_suspect

    def _wait_until_all_landed(self) -> None:
        """For as long as it gets on, and a while; raises SinkError for a loss, as may come just behind."""
        count, deadline = len(self._flight), time.monotonic() + self._patience_seconds
        while self._flight and (left := min(deadline - time.monotonic(), self._seconds_left())) > 0:
            self._settle(self._connection.acknowledged(timeout=left))
            if len(self._flight) < count:
                count, deadline = len(self._flight), time.monotonic() + self._patience_seconds
        if time.monotonic() >= deadline and self._flight.let_go():
            self._patience_seconds = min(SILENT_SECONDS, ALONE_SECONDS)
        while (left := min(self._flight.seconds_unsure(), self._seconds_left())) > 0:
            self._settle(self._connection.acknowledged(timeout=left))

    def _has_place(self) -> bool:
        """Wait for one; of every two that are waited for, the first is a record's, if there is any.

        Tells whether there was time enough; raises SinkError for a loss.
        """
        if self._is_place_left:
            return True
        self.is_waiting = True
        try:
            if not self._gets_place():
                return False
            self._give_way()
            return self._gets_place()
        finally:
            self.is_waiting = False

    @property
    def _is_place_left(self) -> bool:
        return self._flight.announced < self._most and self._connection.has_place

    def _gets_place(self) -> bool:
        while not self._is_place_left:
            while self._flight.announced >= self._most and self._give_way():
                pass
            left = min(self._seconds_left(), ALONE_SECONDS)
            if left <= 0:
                return False
            self._settle(self._connection.acknowledged(timeout=left))
        return True


def fitted(payload: bytes, room: int, spare: Sequence[str]) -> bytes | None:
    """Return the payload without as many of these keys as it takes to fit, and `left_out` naming them.

    `clip.timeline` is a key of what stands under `clip`.
    """
    if len(payload) <= room:
        return payload
    content = msgspec.json.decode(payload) if spare else {}
    left_out = []
    for key in spare:
        outer, _, inner = key.rpartition(".")
        holder = content.get(outer) if outer else content
        if isinstance(holder, dict) and holder.pop(inner, None) is not None:
            left_out.append(key)
            smaller = as_json({**content, "left_out": left_out})
            if len(smaller) <= room:
                return smaller
    return None
