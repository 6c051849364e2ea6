"""Which discovery messages Home Assistant was sent, over restarts: those of removed cameras are withdrawn."""

import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.files.disk import write_whole
from dropsight.sinks.mqtt.former_names import FormerName
from dropsight.sinks.mqtt.homeassistant import MOVING, Entities, farewell

log = logging.getLogger(__name__)

NAME = "discovery.json"
# More entities than Home Assistant is glad of.
MOST_CAMERAS = 256


class DiscoveryMessage(NamedTuple):
    topic: str
    payload: bytes
    retain: bool = True


class DiscoveryNote(msgspec.Struct):
    """`topics` are retained; `gone` are no more, and Home Assistant may have been away when they went."""

    topics: list[str]
    gone: list[str]


class Discovery:
    """For one thread, but for `on_birth`.

    `wanted` is whether to tell Home Assistant: else only what was told is taken back. Some things it takes in
    two steps: while it `has_more`, what `follow_up` yields is to be told once it has had a moment.
    """

    def __init__(self, entities: Entities, state: Path, *, wanted: bool, told_before: bool) -> None:
        self._entities, self._path, self._wanted = entities, state / NAME, wanted
        self._told: dict[str, bytes] = {}
        self._known: set[str] = set()
        self._former: set[str] = set()
        self._gone: set[str] = set()
        self._moving: list[str] = []
        self._held: Collection[str] | None = None
        self._leaving: set[str] = set()
        self._in_one = self._born = self._warned = False
        self._newcomers: set[str] = set()
        self._load(told_before=told_before)

    @property
    def concerns(self) -> bool:
        """Whether it matters when Home Assistant comes."""
        return self._wanted or bool(self._known or self._gone)

    @property
    def has_more(self) -> bool:
        return self._held is not None or bool(self._leaving)

    def newcomers(self) -> Collection[str]:
        """Take the cameras that Home Assistant was told of for the first time."""
        taken, self._newcomers = self._newcomers, set()
        return taken

    def on_birth(self) -> None:
        """Home Assistant has come, and knows again what it had when it went: from any thread."""
        self._born = True

    def messages(self, cameras: Collection[str], *, again: bool) -> Iterator[DiscoveryMessage]:
        """Yield what is news, or with `again` all."""
        if self._wanted and self._moving:
            for topic in self._moving:
                yield DiscoveryMessage(topic, MOVING, retain=False)
            self._moving, self._held = [], cameras
            return
        found = self._found(cameras) if self._wanted else {}
        gone = self._known - found.keys()
        if self._wanted:
            self._newcomers |= {each for each in self._chosen(cameras) if self._is_new(each)}
        if self._known != found.keys():
            self._gone = set(sorted((self._gone | gone) - found.keys())[-MOST_CAMERAS:])
            # Before anything is sent, so that it is known for sure to whom there is something to take back.
            self._save(self._known | found.keys())
        yield from self._news(found, gone, cameras, again=again)
        self._told = found
        if gone:
            self._save(found.keys())
        if self._born:
            self._born, self._leaving = False, set(self._gone)
            for topic in sorted(self._leaving):
                yield DiscoveryMessage(topic, farewell(topic, self._entities.events_of), retain=False)

    def follow_up(self) -> Iterator[DiscoveryMessage]:
        held, self._held = self._held, None
        if held is not None:
            yield from self.messages(held, again=True)
        for topic in sorted(self._leaving - self._known):
            yield DiscoveryMessage(topic, b"")
        if self._leaving:
            self._gone -= self._leaving
            self._leaving = set()
            self._save(self._known)

    def retired(self, name: FormerName, cameras: Collection[str]) -> None:
        """All that this former name retained has been taken back."""
        main = name.discovery_topic()
        told = {topic for topic in self._former if topic.startswith(main.removesuffix("config"))}
        told |= {main, *map(name.discovery_topic, map(name.topics.parts.of, sorted(cameras)))}
        self._former -= told
        self._gone = set(sorted(self._gone | told)[-MOST_CAMERAS:])
        self._save(self._known)

    def _chosen(self, cameras: Collection[str]) -> list[str]:
        """Where they are too many, those that were told of stay: no flood of others takes their places."""
        if len(cameras) <= MOST_CAMERAS:
            return sorted(cameras)
        return sorted(cameras, key=lambda camera: (self._is_new(camera), camera))[:MOST_CAMERAS]

    def _is_new(self, camera: str) -> bool:
        return self._entities.topic_of(camera) not in self._known

    def _news(
        self, found: dict[str, bytes], gone: Collection[str], cameras: Collection[str], *, again: bool
    ) -> Iterator[DiscoveryMessage]:
        if self._in_one and self._wanted:
            self._in_one = False
            yield DiscoveryMessage(
                self._entities.topic, self._entities.of_device(taking_back=self._chosen(cameras))
            )
        for topic in sorted(gone):
            yield DiscoveryMessage(topic, b"")
        for topic, payload in found.items():
            if again or self._told.get(topic) != payload:
                yield DiscoveryMessage(topic, payload)

    def _found(self, cameras: Collection[str]) -> dict[str, bytes]:
        if len(cameras) > MOST_CAMERAS and not self._warned:
            self._warned = True
            log.warning("Home Assistant is sent only %d of %d cameras", MOST_CAMERAS, len(cameras))
        found = {self._entities.topic: self._entities.of_device()}
        for camera in self._chosen(cameras):
            found[self._entities.topic_of(camera)] = self._entities.of_camera(camera)
        return found

    def _load(self, *, told_before: bool) -> None:
        """Without a note of topics, an earlier dropsight has told all in one message, if it told anything.

        A note that is a mere list is of one that told of cameras as parts of the one device.
        """
        try:
            noted = msgspec.json.decode(read_bounded(self._path, STATE_BYTES), type=DiscoveryNote | list[str])
        except FileNotFoundError:
            self._in_one = told_before
            if told_before:
                self._known = {self._entities.first_topic}
                self._moving = [self._entities.first_topic]
            else:
                self._save(())
            return
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            log.warning(
                "%s is not readable, so what Home Assistant was sent is unknown: %s", self._path, error
            )
            return
        topics = set(noted.topics if isinstance(noted, DiscoveryNote) else noted)
        # What a former name has told is taken back with all else of it, if it is not in use elsewhere.
        self._known = {topic for topic in topics if self._entities.owns(topic)}
        self._former = topics - self._known
        if isinstance(noted, DiscoveryNote):
            self._gone = set(noted.gone)
        else:
            self._moving = sorted(self._known - {self._entities.topic})

    def _save(self, topics: Collection[str]) -> None:
        self._known = set(topics)
        note = DiscoveryNote(sorted(self._known | self._former), sorted(self._gone))
        try:
            write_whole(self._path, msgspec.json.encode(note))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
