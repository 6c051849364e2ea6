"""Which events a broker and Home Assistant were told of, over restarts: those without a rule go again."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from dropsight.cameras.problem_names import ProblemName
from dropsight.files.disk import write_whole
from dropsight.sinks.mqtt.topics import Topics

log = logging.getLogger(__name__)

NAME = "events.json"
# Of more pairs of camera and event, only what happens is told, and no entities are made.
MOST_PLACES = 1_000


class NamedRule(Protocol):
    """As much of a rule as it takes to know what may happen where."""

    @property
    def name(self) -> str: ...

    def watches(self, camera: str) -> bool: ...


class Place(NamedTuple):
    """An event that a camera may have."""

    camera: str
    name: str


class _Noted(msgspec.Struct):
    """Topics behind their first part; of those `gone` the broker has nothing any more."""

    told: list[str] = []
    gone: list[str] = []


class EventNames:
    """For the publisher's thread."""

    def __init__(
        self,
        rules: Sequence[NamedRule],
        topics: Topics,
        state: Path,
        *,
        problems: Sequence[ProblemName] = (),
    ) -> None:
        self._problems = problems
        self._rules, self._topics, self._path = rules, topics, state / NAME
        self._noted = _load(self._path)
        self._warned = False

    @property
    def concerns(self) -> bool:
        """Whether there is anything to tell, or to take back."""
        return bool(self._rules or self._problems or self._noted.told)

    def of(self, camera: str) -> list[str]:
        """Return the names of events that rules make of what a camera sees."""
        return [rule.name for rule in self._rules if rule.watches(camera)]

    def problems_of(self, camera: str) -> list[str]:
        return [problem.name for problem in self._problems if problem.watches(camera)]

    def places(self, cameras: Collection[str]) -> dict[str, Place]:
        """Return what may happen, by the end of its topic."""
        found = [Place(each.camera, each.name) for each in self._problems if each.camera is not None]
        for camera in sorted(cameras):
            found += [Place(camera, name) for name in (*self.of(camera), *self.problems_of(camera))]
        if len(found) > MOST_PLACES and not self._warned:
            self._warned = True
            log.warning("%d events of cameras are possible: only %d have entities", len(found), MOST_PLACES)
        return {self._topics.place(*place): place for place in found[:MOST_PLACES]}

    def told(self, ends: Collection[str]) -> list[str]:
        """Note that these are told of from now on; return those to take back."""
        before = self._noted
        left = sorted(set(before.told) - set(ends))
        gone = sorted((set(before.gone) | set(left)) - set(ends))[-MOST_PLACES:]
        self._noted = _Noted(sorted(ends), gone)
        if self._noted != before:
            self._save()
        return left

    def known(self) -> list[str]:
        """Return the ends of all topics that a broker may have."""
        return [*self._noted.told, *self._noted.gone]

    def ever_of(self, part: str) -> list[str]:
        """Return the names of events that a camera had or has, by its part of a topic."""
        names = (name for end in self.known() for camera, _, name in [end.partition("/")] if camera == part)
        problems = {problem.name for problem in self._problems}
        return [name for name in names if name not in problems]

    def _save(self) -> None:
        try:
            write_whole(self._path, msgspec.json.encode(self._noted))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)


def _load(path: Path) -> _Noted:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Noted)
    except FileNotFoundError:
        return _Noted()
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        log.warning("%s is not readable, so the broker may keep events that are gone: %s", path, error)
        return _Noted()
