"""Which events a broker and Home Assistant were told of, over restarts: those without a rule go again."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.cameras.problem_names import ProblemName
from dropsight.files.disk import write_whole
from dropsight.sinks.mqtt.topics import Topics

log = logging.getLogger(__name__)

NAME = "events.json"
# Of more pairs of camera and event, only what happens is told, and no entities are made.
MOST_PLACES = 1_000
# Cameras whose rules are remembered; beyond that they are looked up anew.
_MOST_KNOWN = 10_000


class NamedRule(Protocol):
    """As much of a rule as it takes to know what may happen where."""

    @property
    def name(self) -> str: ...

    def watches(self, camera: str) -> bool: ...


class CameraEvent(NamedTuple):
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
        self._ever = _by_camera(self.known())
        self._names: dict[str, tuple[str, ...]] = {}
        self._alike: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._warned = False

    @property
    def concerns(self) -> bool:
        """Whether there is anything to tell, or to take back."""
        return bool(self._rules or self._problems or self._noted.told)

    def of(self, camera: str) -> Sequence[str]:
        """Return the names of events that rules make of what a camera sees."""
        names = self._names.get(camera)
        if names is None:
            if len(self._names) >= _MOST_KNOWN:
                self._names.clear()
            names = tuple(rule.name for rule in self._rules if rule.watches(camera))
            names = self._names[camera] = self._alike.setdefault(names, names)
        return names

    def problems_of(self, camera: str) -> list[str]:
        return [problem.name for problem in self._problems if problem.watches(camera)]

    def places(self, cameras: Collection[str]) -> dict[str, CameraEvent]:
        """Return what may happen, by the end of its topic.

        Where that is too much, cameras that were told of stay: no flood of others takes theirs away.
        """
        found = [CameraEvent(each.camera, each.name) for each in self._problems if each.camera is not None]
        told = _by_camera(self._noted.told)
        for camera in sorted(cameras, key=lambda each: (self._topics.parts.of(each) not in told, each)):
            found += [CameraEvent(camera, name) for name in (*self.of(camera), *self.problems_of(camera))]
            if len(found) > MOST_PLACES:
                self._warn()
                break
        return {self._topics.place(*place): place for place in found[:MOST_PLACES]}

    def told(self, ends: Collection[str]) -> list[str]:
        """Note that these are told of from now on; return those to take back."""
        before = self._noted
        left = sorted(set(before.told) - set(ends))
        gone = sorted((set(before.gone) | set(left)) - set(ends))[-MOST_PLACES:]
        self._noted = _Noted(sorted(ends), gone)
        if self._noted != before:
            self._ever = _by_camera(self.known())
            self._save()
        return left

    def known(self) -> list[str]:
        """Return the ends of all topics that a broker may have."""
        return [*self._noted.told, *self._noted.gone]

    def ever_of(self, part: str) -> Sequence[str]:
        """Return the names of events that a camera had or has, by its part of a topic."""
        problems = {problem.name for problem in self._problems}
        return [name for name in self._ever.get(part, ()) if name not in problems]

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "more than %d events of cameras are possible: the others have no entities", MOST_PLACES
            )

    def _save(self) -> None:
        try:
            write_whole(self._path, msgspec.json.encode(self._noted))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)


def _by_camera(ends: Collection[str]) -> dict[str, list[str]]:
    """Return the names of events by the camera's part of a topic."""
    found: dict[str, list[str]] = {}
    for end in ends:
        camera, _, name = end.partition("/")
        found.setdefault(camera, []).append(name)
    return found


def _load(path: Path) -> _Noted:
    try:
        return msgspec.json.decode(read_bounded(path, STATE_BYTES), type=_Noted)
    except FileNotFoundError:
        return _Noted()
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        log.warning("%s is not readable, so the broker may keep events that are gone: %s", path, error)
        return _Noted()
