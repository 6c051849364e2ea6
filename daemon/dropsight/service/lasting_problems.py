"""Has problems that last be events: of cameras, of the broker, of the disk."""

import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b

import msgspec

from dropsight.cameras.problem_names import BROKER, DISK, problem_names
from dropsight.config import Config
from dropsight.config.event_rules import CAMERA_PROBLEM
from dropsight.journal.event_messages import EventBest, EventMessage, event_type
from dropsight.records import timestamp

# A broker that is back at once, or a disk that is full for a moment, is no event; cameras are judged already.
LASTING_SECONDS = 60.0
_OF_DISK = ("filing", "journal", "housekeeping", "syncing", "log")

Key = tuple[str, str]
"""Name and camera."""


class LastingProblems:
    """`look` is for one thread. `going_on` are those of earlier lives: they go on, or end."""

    def __init__(
        self,
        config: Config,
        put: Callable[[EventMessage], None],
        *,
        cameras: Callable[[], Mapping[str, Mapping[str, str]]],
        troubles: Callable[[], Mapping[str, str]],
        going_on: Iterable[EventMessage],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._put, self._cameras, self._troubles = put, cameras, troubles
        self._device, self._monotonic = config.device, monotonic
        self._notify = list(config.problem_events.notify) if config.problem_events else []
        self._asked = {each.name for each in problem_names(config)}
        self._open = {(message.name, message.camera): message for message in going_on}
        self._since: dict[Key, float] = {}

    def look(self) -> None:
        now, found = self._monotonic(), dict(self._found())
        self._since = {key: self._since.get(key, now) for key in found}
        for key, text in found.items():
            lasts = key[1] != self._device or now - self._since[key] >= LASTING_SECONDS
            if lasts and key not in self._open:
                self._open[key] = self._begun(*key, text)
                self._put(self._open[key])
        for key in self._open.keys() - found:
            self._put(_over(self._open.pop(key)))

    def _found(self) -> Iterable[tuple[Key, str]]:
        for camera, problems in self._cameras().items():
            for kind, text in problems.items():
                if (name := f"{CAMERA_PROBLEM}{kind}") in self._asked:
                    yield (name, camera), text
        troubles = self._troubles()
        for name, parts in ((BROKER, ("mqtt",)), (DISK, _OF_DISK)):
            texts = [troubles[part] for part in parts if part in troubles]
            if name in self._asked and texts:
                yield (name, self._device), texts[0]

    def _begun(self, name: str, camera: str, text: str) -> EventMessage:
        """What is wrong stands where an event of answers has its label; there is no record."""
        began = timestamp(time.time())
        return EventMessage(
            event_type=event_type(name, "start"),
            id=blake2b(f"{name}\0{camera}\0{began}".encode(), digest_size=16).hexdigest(),
            phase="start",
            name=name,
            device=self._device,
            camera=camera,
            started=began,
            count=1,
            best=EventBest("", 1.0, text),
            notify=self._notify,
            time=began,
        )


def _over(message: EventMessage) -> EventMessage:
    now = timestamp(time.time())
    return msgspec.structs.replace(
        message, event_type=event_type(message.name, "end"), phase="end", ended=now, notify=[], time=now
    )
