"""Which discovery messages Home Assistant was sent, over restarts: what is no more is taken back."""

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from dropsight.service.disk import write_whole
from dropsight.sinks.homeassistant import Entities

log = logging.getLogger(__name__)

NAME = "discovery.json"
# More entities than Home Assistant is glad of.
MOST_CAMERAS = 256


class Discovery:
    """For one thread. `wanted` is whether to tell Home Assistant: else only what was told is taken back."""

    def __init__(self, entities: Entities, state: Path, *, wanted: bool, told_before: bool) -> None:
        self._entities, self._path, self._wanted = entities, state / NAME, wanted
        self._told: dict[str, bytes] = {}
        self._known: set[str] = set()
        self._in_one = False
        self._warned = False
        self._load(told_before=told_before)

    def messages(self, cameras: Collection[str], *, again: bool) -> Iterator[tuple[str, bytes]]:
        """Yield topic and payload of what is news, or with `again` of all."""
        found = self._found(cameras) if self._wanted else {}
        gone = self._known - found.keys()
        if self._known != found.keys():
            # Before anything is sent, so that it is known for sure to whom there is something to take back.
            self._save(self._known | found.keys())
        if self._in_one and self._wanted:
            self._in_one = False
            yield self._entities.topic, self._entities.of_device(taking_back=sorted(cameras)[:MOST_CAMERAS])
        for topic in sorted(gone):
            yield topic, b""
        for topic, payload in found.items():
            if again or self._told.get(topic) != payload:
                yield topic, payload
        self._told = found
        if gone:
            self._save(found.keys())

    def _found(self, cameras: Collection[str]) -> dict[str, bytes]:
        known = sorted(cameras)
        if len(known) > MOST_CAMERAS and not self._warned:
            self._warned = True
            log.warning("Home Assistant is told of %d cameras, not of all %d", MOST_CAMERAS, len(known))
        found = {self._entities.topic: self._entities.of_device()}
        for camera in known[:MOST_CAMERAS]:
            found[self._entities.topic_of(camera)] = self._entities.of_camera(camera)
        return found

    def _load(self, *, told_before: bool) -> None:
        """Without a note of topics, an earlier dropsight has told all in one message, if it told anything."""
        try:
            noted = msgspec.json.decode(self._path.read_bytes(), type=list[str])
            # What a former name has told is taken back with all else of it, if it is not in use elsewhere.
            self._known = {topic for topic in noted if self._entities.owns(topic)}
        except FileNotFoundError:
            self._in_one = told_before
            if told_before:
                self._known = {self._entities.topic}
            else:
                self._save(())
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            log.warning(
                "%s is not to be read, so what Home Assistant was told is not known: %s", self._path, error
            )

    def _save(self, topics: Collection[str]) -> None:
        self._known = set(topics)
        try:
            write_whole(self._path, msgspec.json.encode(sorted(topics)))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
