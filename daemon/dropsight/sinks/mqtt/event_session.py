"""What a connection tells of events beside their messages: whether they go on, and what they are at."""

import time
from dataclasses import dataclass

import msgspec

from dropsight.cameras.watch import CameraWatch
from dropsight.journal.event_messages import message_in
from dropsight.journal.event_table import EventReader
from dropsight.journal.outbox import Delivery
from dropsight.names import as_json
from dropsight.records import seconds_at
from dropsight.sinks.mqtt.event_names import EventNames, Place
from dropsight.sinks.mqtt.telling import Teller
from dropsight.sinks.mqtt.topics import Topics

ON, OFF = b"ON", b"OFF"
# What is told so much later than it happened is no news any more, for who acts on it.
LATE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class EventTopics:
    """What the connections of one publisher have in common."""

    topics: Topics
    watch: CameraWatch
    names: EventNames
    reader: EventReader


class EventSession:
    """For the session's thread. What is retained says how it is now, whatever is still on its way."""

    def __init__(self, events: EventTopics, teller: Teller) -> None:
        self._events, self._teller, self._topics = events, teller, events.topics
        self._cameras: frozenset[str] | None = None
        self._places: dict[str, Place] = {}
        self._stale: set[str] = set()

    def of(self, delivery: Delivery) -> tuple[str, bytes]:
        """Return the topic of a message, and what it says; what becomes of the event by it is to be told."""
        message = message_in(delivery.line)
        end = self._topics.place(message.camera, message.name)
        self._stale.add(end)
        self._places.setdefault(end, Place(message.camera, message.name))
        at = seconds_at(message.time)
        if at is None or time.time() - at <= LATE_SECONDS:
            return self._topics.event(end), delivery.line
        return self._topics.event(end), as_json({**msgspec.json.decode(delivery.line), "late": True})

    def announce(self) -> None:
        """Everything retained, again on every connection: brokers lose it."""
        self._cameras, self._stale = None, set(self._places)
        self.publish()

    def publish(self) -> None:
        if self._cameras is not self._events.watch.names and self._events.names.concerns:
            self._look_for_places()
        stale, self._stale = self._stale, set()
        for end in sorted(stale & self._places.keys()):
            place = self._places[end]
            is_going_on, line = self._events.reader.latest(*place)
            self._teller.tell(self._topics.active(end), ON if is_going_on else OFF)
            if line is not None:
                self._teller.tell(self._topics.seen(end), line)

    def _look_for_places(self) -> None:
        self._cameras = self._events.watch.names
        places = self._events.names.places(self._cameras)
        for end in self._events.names.told(places):
            self._teller.tell(self._topics.active(end), OFF)
            for topic in self._topics.retained_of_event(end):
                self._teller.tell(topic, b"")
            self._stale.discard(end)
        self._stale |= places.keys() - self._places.keys()
        self._places = places
