"""What a connection tells of the cameras: newest states, problems, thumbnails, Home Assistant's entities."""

import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from dropsight.cameras.watch import CameraWatch, Kind, Problem
from dropsight.names import as_json
from dropsight.sinks.mqtt.announcing import Announcer
from dropsight.sinks.mqtt.discovery import Discovery, DiscoveryMessage
from dropsight.sinks.mqtt.picture_session import PictureSession
from dropsight.sinks.mqtt.states import STATE_SECONDS, CameraStates
from dropsight.sinks.mqtt.thumbnails import Thumbnails
from dropsight.sinks.mqtt.topics import Topics

ENTITIES_SECONDS = 1.0
# What Home Assistant takes to be through with one message before the next of the same entities.
FOLLOW_UP_SECONDS = 3.0
# What a dashboard does not show goes first where a broker takes only short messages.
SPARE_RECORD = (
    *(
        "clip.timeline",
        "burst.timeline",
        "top_5_predictions",
        "groups",
        "prediction_set",
        "model",
        "latency_ms",
    ),
    *("clip.segments", "burst.segments", "heads", "regions", "burst.photos", "clip", "burst", "present"),
)


class CameraSessionParts(msgspec.Struct, frozen=True):
    """What the connections of one publisher have in common.

    `pictures` is whether to publish thumbnails, `records` whether records are retained.
    """

    topics: Topics
    watch: CameraWatch
    states: CameraStates
    thumbnails: Thumbnails
    discovery: Discovery
    pictures: bool
    records: bool


class CameraSession:
    """For the session's thread, but for `tell_entities_again`."""

    def __init__(self, cameras: CameraSessionParts, announcer: Announcer) -> None:
        self._cameras, self._announcer, self._topics = cameras, announcer, cameras.topics
        self._told: frozenset[str] | None = None
        self._told_at = -ENTITIES_SECONDS
        self._follow_up_at = float("inf")
        self._pictures = PictureSession(
            cameras.thumbnails,
            announcer,
            topic=self._topics.thumbnail,
            everything=self._topics.all_thumbnails,
        )
        self._newcomers: set[str] = set()
        self._again_at = float("inf")

    def announce(self) -> None:
        """Everything retained, again on every connection: brokers lose it."""
        cameras = self._cameras
        problems = cameras.watch.everything()
        for camera in sorted(problems):  # so that parts are given before one is used
            self._topics.parts.of(camera)
        self._publish_states(cameras.states.everything())
        self._publish_problems(problems)
        if cameras.pictures:
            self._pictures.show_those_that_are_lost()
        elif not cameras.thumbnails.cleared:
            cameras.thumbnails.cleared = True
            for camera in problems:
                self._announcer.tell(self._topics.thumbnail(camera), b"")
        self.publish()

    def publish(self) -> None:
        """Whatever is due."""
        self._publish_states(self._cameras.states.due())
        self._publish_problems(self._cameras.watch.news())
        self._clear_gone()
        self._publish_entities()
        self._publish_again()
        self._pictures.publish()

    def publish_last(self) -> None:
        """All that is to be told, due or not: nobody will tell it later."""
        self._publish_states(self._cameras.states.due(at_once=True))
        self._publish_problems(self._cameras.watch.news())
        self._told_at = -ENTITIES_SECONDS
        self._publish_entities()
        if self._cameras.discovery.has_more:
            self._tell_all(self._cameras.discovery.follow_up())
        while self._pictures.publish(at_once=True):
            pass

    def settle(self, mids: Sequence[int]) -> None:
        self._pictures.settle(mids)

    def seconds_to_next(self) -> float:
        """How long until something is due, infinity where nothing is known to be."""
        waits = [STATE_SECONDS] if self._cameras.states.stale() else []
        waits.append(max(self._again_at - time.monotonic(), 0.0))
        if self._cameras.discovery.has_more:
            waits.append(max(self._follow_up_at - time.monotonic(), 0.0))
        elif self._told is None or self._told != self._cameras.watch.names:
            waits.append(max(self._told_at + ENTITIES_SECONDS - time.monotonic(), 0.0))
        return min(*waits, self._pictures.seconds_to_next())

    def tell_entities_again(self) -> None:
        """From any thread."""
        self._told = None

    def _publish_states(self, states: Mapping[str, bytes]) -> None:
        for camera, line in states.items():
            self._announcer.tell(self._topics.state(camera), line, spare=SPARE_RECORD)

    def _publish_problems(self, problems: Mapping[str, Mapping[Kind, Problem]]) -> None:
        for camera, found in problems.items():
            payload = as_json({"camera": camera, "problems": found})
            self._announcer.tell(self._topics.problem(camera), payload)

    def _clear_gone(self) -> None:
        for camera in self._cameras.watch.gone():
            of_records = [self._topics.record("ok", camera)] if self._cameras.records else []
            for topic in (*self._topics.retained_of(camera), *of_records):
                self._announcer.tell(topic, b"")
            self._topics.parts.forget(camera)
            self._cameras.states.forget(camera)
            self._cameras.thumbnails.forget(camera)

    def _publish_entities(self) -> None:
        """Tell Home Assistant of the cameras there are."""
        cameras, discovery, now = self._cameras.watch.names, self._cameras.discovery, time.monotonic()
        if now >= self._follow_up_at:
            self._follow_up_at = float("inf")
            self._tell_all(discovery.follow_up())
        if discovery.has_more and self._told is not None:
            return
        if cameras == self._told or now - self._told_at < ENTITIES_SECONDS:
            return
        again = self._told is None
        self._told, self._told_at = cameras, now
        self._tell_all(discovery.messages(cameras, again=again))
        if discovery.has_more:
            self._follow_up_at = now + FOLLOW_UP_SECONDS
        if newcomers := discovery.newcomers():
            self._newcomers.update(newcomers)
            self._again_at = now + FOLLOW_UP_SECONDS

    def _publish_again(self) -> None:
        """Home Assistant has not heard the image by which a camera was found: it listens only now."""
        if time.monotonic() < self._again_at:
            return
        newcomers, self._newcomers, self._again_at = self._newcomers, set(), float("inf")
        for camera in sorted(newcomers):
            line = self._cameras.states.new(camera)
            if line is not None:
                self._announcer.tell(self._topics.again(camera), line, retain=False, spare=SPARE_RECORD)

    def _tell_all(self, messages: Iterable[DiscoveryMessage]) -> None:
        for topic, payload, retain in messages:
            self._announcer.tell(topic, payload, retain=retain)
