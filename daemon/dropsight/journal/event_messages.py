"""What is told of an event: a row of the journal for each time that it begins, goes on or ends."""

import msgspec

from dropsight.names import as_json
from dropsight.records import SCHEMA, EventPhase, Glance
from dropsight.status.stats import Stats


class EventBest(msgspec.Struct, frozen=True):
    """The record that shows the event most surely."""

    id: str
    confidence: float
    label: str


class EventMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The same event has the same `id` in all its messages, after any crash.

    `started` and `ended` are times of records, `time` is when this came to be known: when the image arrived
    that decided it. Of the `count` files that it is of, `clips` are clips. `notify` names the targets that
    are to be told now.
    """

    schema: str = SCHEMA
    event_type: str
    id: str
    phase: EventPhase
    name: str
    device: str
    camera: str
    started: str
    ended: str | None = None
    count: int
    clips: int = 0
    best: EventBest
    region: str | None = None
    notify: list[str] = []
    time: str

    @property
    def message_id(self) -> str:
        """The same message has the same, whoever tells it once more."""
        return f"{self.id}-{self.phase}-{self.count}"


_messages = Glance(EventMessage)


def event_type(name: str, phase: EventPhase) -> str:
    """Say what happened in a word: that it began is the event itself."""
    return name if phase == "start" else f"{name}_{phase}"


def encode_message(message: EventMessage) -> bytes:
    return as_json(message)


def count_event(stats: Stats, message: EventMessage, *, is_new: bool = True) -> None:
    """Not `is_new`, it began in an earlier life."""
    stats.happened(
        message.name,
        message.camera,
        message.id,
        started=is_new and message.phase == "start",
        going_on=message.phase != "end",
    )


def message_in(line: bytes) -> EventMessage:
    """Read one, whoever wrote it."""
    return _messages.at(line)
