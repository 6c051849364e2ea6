"""Names under which we have published: kept beside the journal, to remove what former ones retained."""

import logging
from pathlib import Path

import msgspec

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.files.disk import write_whole
from dropsight.sinks.mqtt.homeassistant import discovery_topic
from dropsight.sinks.mqtt.topics import HOME_ASSISTANT, Topics

log = logging.getLogger(__name__)

NAME = "announced.json"


class FormerName(msgspec.Struct, frozen=True):
    """What the config's `device`, `mqtt.base_topic` and `mqtt.discovery_prefix` were."""

    device: str
    base_topic: str
    discovery_prefix: str = HOME_ASSISTANT

    @property
    def topics(self) -> Topics:
        return Topics.of(self.base_topic, self.device, self.discovery_prefix)

    def discovery_topic(self, part: str = "") -> str:
        return discovery_topic(self.device, part, prefix=self.discovery_prefix)


class FormerNames:
    """For one thread. What cannot be kept is said: it is no reason to publish nothing."""

    def __init__(self, state: Path) -> None:
        self._path = state / NAME
        self._names = _load(self._path)
        self._tried: set[FormerName] = set()
        self._within: set[FormerName] = set()

    def all(self) -> tuple[FormerName, ...]:
        return tuple(self._names)

    def knows(self, root: str) -> bool:
        return any(name.topics.root == root for name in self._names)

    def former(self, current: FormerName) -> list[FormerName]:
        """Name those to take back now: each is tried once, as a broker may hang up on who tries it."""
        found = [
            name
            for name in self._names
            if name.topics.root != current.topics.root and name not in self._tried
        ]
        self._tried.update(found)
        return found

    def lost_over(self, name: FormerName) -> None:
        """Have it tried once more, within what is our own: the connection was lost over it."""
        if self.may_reach(name):
            self._within.add(name)
            self._tried.discard(name)

    def may_reach(self, name: FormerName) -> bool:
        """Whether what is not below our own base topic may be taken back with it."""
        return name not in self._within

    def add(self, name: FormerName) -> None:
        if name not in self._names:
            others = [each for each in self._names if each.topics.root != name.topics.root]
            self._names = [*others, name]
            self._save()

    def remove(self, name: FormerName) -> None:
        if name in self._names:
            self._names.remove(name)
            self._save()

    def _save(self) -> None:
        try:
            write_whole(self._path, msgspec.json.encode(self._names))
        except OSError as error:
            log.warning(
                "%s cannot be written (%s): after a change of device or base_topic, run dropsight retire",
                self._path,
                error.strerror,
            )


def _load(path: Path) -> list[FormerName]:
    try:
        return msgspec.json.decode(read_bounded(path, STATE_BYTES), type=list[FormerName])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        log.warning("%s is not readable, so former device names are unknown: %s", path, error)
        return []
