"""The rules of events, which see each record on its way into the journal and go on from what is durable."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import msgspec

from dropsight.events.machine import Machine
from dropsight.events.rule import Rule
from dropsight.events.sighting import sighting_of
from dropsight.events.state import Spell, State, Stream
from dropsight.events.turn import Change
from dropsight.journal.entering import EventStep
from dropsight.journal.event_messages import EventBest, EventMessage, event_type
from dropsight.journal.event_table import CameraState, EventReader
from dropsight.records import Result, timestamp

log = logging.getLogger(__name__)

# To look when the next event ends takes time by how many go on: so many times that is left to other work.
REST = 20
_decode = msgspec.json.Decoder(dict[str, Stream]).decode


class EventKeeper:
    """See `Keeper`: for the recorder's thread. A bug in here is no image's fault: it has no events then."""

    def __init__(
        self,
        rules: Sequence[Rule],
        reader: EventReader,
        *,
        device: str,
        contained: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._rules, self._device, self._contained = rules, device, contained
        self._after = {rule.name: rule.end_after for rule in rules}
        self._durable = reader.states()
        self._pending: Sequence[CameraState] = ()
        self._machine = self._made()
        self._is_first = self._is_stale = True
        self._look_at, self._due_at = 0.0, float("inf")
        known = {spell.id for _, spell in _open(self._machine.state)}
        self._lost = [each for each in reader.going_on() if each.best.id and each.id not in known]
        if self._lost:
            log.warning("the state of these events is lost, so they end: %s", ", ".join(self._names_lost()))

    @property
    def seconds_to_next(self) -> float | None:
        """How long until an event may be over, None where none goes on."""
        if self._is_first:  # what rules that are gone have left open is told by nobody else
            return 0.0
        now = time.monotonic()
        if self._is_stale and now >= self._look_at:
            self._is_stale, self._due_at = False, now + self._seconds_left()
            looked = time.monotonic()
            self._look_at = looked + REST * (looked - now)
        next_look = self._look_at if self._is_stale else float("inf")
        due = max(min(self._due_at, next_look) - now, 0.0)
        return None if due == float("inf") else due

    def _seconds_left(self) -> float:
        now = time.time()
        opened = _open(self._machine.state)
        left = (self._after.get(name, 0.0) - abs(now - spell.heard) for name, spell in opened)
        return min(left, default=float("inf"))

    def begin(self) -> None:
        if self._machine.changed:
            self._machine, self._is_stale = self._made(), True

    def weigh(self, record: Result, *, arrived: float) -> Sequence[EventStep]:
        self._is_stale = True
        with self._contained("events"):
            sighting = sighting_of(record)
            changes = self._machine.step(sighting) if sighting else []
            return [self._happening(change, arrived) for change in changes]
        return ()

    def over(self, now: float) -> Sequence[EventStep]:
        """Return the ends that are due, by the wall clock; those whose state is lost are over, too."""
        self._is_stale, self._due_at = True, float("inf")
        with self._contained("events"):
            ends = [self._happening(change, now) for change in self._machine.tick(now)]
            return [*(_given_up(message, now) for message in self._lost), *ends]
        return ()

    def states(self) -> Sequence[CameraState]:
        cameras = self._machine.state.cameras
        found = (
            CameraState(camera, msgspec.json.encode(cameras[camera]) if camera in cameras else None)
            for camera in self._machine.changed
        )
        self._pending = [each for each in found if each.state != self._durable.get(each.camera)]
        return self._pending

    def keep(self) -> None:
        for camera, state in self._pending:
            if state is None:
                self._durable.pop(camera, None)
            else:
                self._durable[camera] = state
        self._pending = ()
        self._machine.changed.clear()

    def kept_ends(self) -> None:
        """What `over` returned is durable."""
        self.keep()
        self._lost, self._is_first = [], False

    def _made(self) -> Machine:
        state = State()
        for camera, encoded in self._durable.items():
            try:
                state.cameras[camera] = _decode(encoded)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                text = "the state of events of camera %s is not readable, so it starts over: %s"
                log.warning(text, camera, error)
        return Machine(self._rules, state)

    def _names_lost(self) -> list[str]:
        return sorted({f"{each.name} of {each.camera}" for each in self._lost})

    def _happening(self, change: Change, at: float) -> EventStep:
        message = EventMessage(
            event_type=event_type(change.name, change.phase),
            id=change.id,
            phase=change.phase,
            name=change.name,
            device=self._device,
            camera=change.camera,
            started=change.started,
            ended=change.ended,
            count=change.count,
            clips=change.clips,
            best=EventBest(change.best.id, change.best.confidence, change.best.label),
            region=change.region,
            notify=list(change.notify),
            time=timestamp(at),
        )
        return EventStep(message, change.news)


def _given_up(message: EventMessage, now: float) -> EventStep:
    ended = msgspec.structs.replace(
        message,
        event_type=event_type(message.name, "end"),
        phase="end",
        ended=message.time,
        notify=[],
        time=timestamp(now),
    )
    return EventStep(ended, is_news=True)


def _open(state: State) -> list[tuple[str, Spell]]:
    """Return the events that go on, with the names of their rules."""
    return [
        (name, spell)
        for streams in state.cameras.values()
        for name, stream in streams.items()
        for spell in stream.spells
        if spell.id and not spell.ended
    ]
