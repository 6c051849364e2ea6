"""What a connection tells of events beside their messages: whether they go on, and what they are at."""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

import msgspec

from dropsight.cameras.watch import CameraWatch
from dropsight.journal.event_messages import EventMessage, message_in
from dropsight.journal.event_table import EventReader
from dropsight.journal.outbox import Delivery
from dropsight.names import as_json
from dropsight.records import seconds_at
from dropsight.sinks.mqtt.announcing import Announcer
from dropsight.sinks.mqtt.event_names import CameraEvent, EventNames
from dropsight.sinks.mqtt.picture_session import PictureSession
from dropsight.sinks.mqtt.thumbnails import LONGEST_SIDE, MOST_CAMERAS, Thumbnails
from dropsight.sinks.mqtt.topics import Topics

ON, OFF = b"ON", b"OFF"
# What is told so much later than it happened is no news any more, for who acts on it.
LATE_SECONDS = 120.0
# No closer: anybody may have a camera made with each image.
CAMERAS_SECONDS = 1.0


class EventSessionParts(msgspec.Struct):
    """What the connections of one publisher have in common."""

    topics: Topics
    watch: CameraWatch
    names: EventNames
    reader: EventReader
    pictures: "EventPictures | None"
    """None where none are published."""
    cleared: bool = False
    """Whether the broker was told to drop those of an earlier life, where there are to be none."""


class EventPictures:
    """The best picture of each camera's newest event; `make` returns a record's, of so many pixels."""

    def __init__(self, make: Callable[[str, int], bytes], *, wake: Callable[[], None]) -> None:
        self.thumbnails = Thumbnails(wake)
        self._make = make
        self._shown: dict[str, str] = {}

    def show(self, message: EventMessage) -> None:
        """Have it published, if it is another than before."""
        if self._is_other(message):
            self._shown[message.camera] = message.best.id
            self.thumbnails.show(message.camera, self._making(message))

    def recall(self, message: EventMessage) -> None:
        """Know one of an earlier life, or of a message that is on its way: it may be at the broker."""
        if self._is_other(message):
            self.thumbnails.recall(message.camera, self._making(message))

    def keep(self, cameras: Collection[str]) -> None:
        """Forget all others."""
        for camera in self._shown.keys() - cameras:
            del self._shown[camera]
            self.thumbnails.forget(camera)

    def _is_other(self, message: EventMessage) -> bool:
        return bool(message.best.id) and self._shown.get(message.camera) != message.best.id

    def _making(self, message: EventMessage) -> Callable[[], bytes]:
        return partial(self._make, message.best.id, LONGEST_SIDE)


class EventSession:
    """For the session's thread. What is retained says how it is now, whatever is still on its way."""

    def __init__(self, events: EventSessionParts, announcer: Announcer) -> None:
        self._events, self._announcer, self._topics = events, announcer, events.topics
        self._cameras: frozenset[str] = frozenset()
        self._places: dict[str, CameraEvent] = {}
        self._looked_at = -CAMERAS_SECONDS
        self._stale: set[str] = set()
        self._to_show: dict[str, EventMessage] = {}
        self._pictures: PictureSession | None = None
        if events.pictures:
            self._pictures = PictureSession(
                events.pictures.thumbnails,
                announcer,
                topic=self._topics.event_thumbnail,
                everything=self._topics.all_event_thumbnails,
            )

    def of(self, delivery: Delivery) -> tuple[str, bytes]:
        """Return the topic of a message, and what it says; what becomes of the event by it is to be told."""
        message = message_in(delivery.line)
        end = self._topics.place(message.camera, message.name)
        self._stale.add(end)
        is_wanted = message.phase != "end" and message.name in self._events.names.of(message.camera)
        if self._events.pictures and is_wanted:
            self._to_show[message.camera] = message
        at = seconds_at(message.time)
        if at is None or time.time() - at <= LATE_SECONDS:
            return self._topics.event(end), delivery.line
        return self._topics.event(end), as_json({**msgspec.json.decode(delivery.line), "late": True})

    def announce(self) -> None:
        """Everything retained, again on every connection: brokers lose it."""
        self._stale = set(self._places)
        self._look_for_places()
        if self._pictures:
            self._pictures.show_those_that_are_lost()
        elif self._events.names.concerns and not self._events.cleared:
            self._events.cleared = True
            for camera in sorted(self._cameras):
                self._announcer.tell(self._topics.event_thumbnail(camera), b"")
        self.publish()

    def settle(self, mids: Sequence[int]) -> None:
        if self._pictures:
            self._pictures.settle(mids)

    def seconds_to_next(self) -> float:
        """How long until something is due, infinity where nothing is known to be."""
        pictures = self._pictures.seconds_to_next() if self._pictures else float("inf")
        if self._cameras is self._events.watch.names:
            return pictures
        return min(pictures, max(self._looked_at + CAMERAS_SECONDS - time.monotonic(), 0.0))

    def publish_last(self) -> None:
        """All that is to be told, due or not."""
        self._looked_at = -CAMERAS_SECONDS
        self.publish()
        while self._pictures and self._pictures.publish(at_once=True):
            pass

    def publish(self) -> None:
        is_due = time.monotonic() - self._looked_at >= CAMERAS_SECONDS
        if self._cameras is not self._events.watch.names and is_due:
            self._look_for_places()
        stale, self._stale = self._stale, set()
        for end in sorted(stale & self._places.keys()):
            place = self._places[end]
            is_going_on, line = self._events.reader.latest(*place)
            self._announcer.tell(self._topics.active(end), ON if is_going_on else OFF)
            if line is not None:
                self._announcer.tell(self._topics.seen(end), line)
        self._show(self._places)
        if self._pictures:
            self._pictures.publish()

    def _show(self, places: Collection[str]) -> None:
        """Have pictures published where they are taken back one day; a new camera's once it is known."""
        if not self._to_show or self._events.pictures is None:
            return
        waiting = list(self._to_show.items())[-MOST_CAMERAS:]
        self._to_show = {camera: message for camera, message in waiting if camera not in self._cameras}
        for camera, message in waiting:
            if self._topics.place(camera, message.name) in places:
                self._events.pictures.show(message)
                self._to_show.pop(camera, None)

    def _look_for_places(self) -> None:
        self._cameras, self._looked_at = self._events.watch.names, time.monotonic()
        if not self._events.names.concerns:
            return
        places = self._events.names.places(self._cameras)
        if self._events.pictures:
            cameras = {place.camera for place in places.values()}
            self._events.pictures.keep(cameras)
            self._show(places)
            known = {place.camera for place in self._places.values()}
            for message in self._events.reader.newest(cameras - known):
                self._events.pictures.recall(message)
        gone = self._events.names.told(places)
        for end in gone:
            self._announcer.tell(self._topics.active(end), OFF)
        for topic in self._topics.retained_of_events(gone, kept=places):
            self._announcer.tell(topic, b"")
        self._stale.difference_update(gone)
        self._stale |= places.keys() - self._places.keys()
        self._places = places
