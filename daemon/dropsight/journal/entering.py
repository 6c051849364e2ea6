"""A group of records as rows of the journal, with what they have events do."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from dropsight.journal.event_messages import EventMessage
from dropsight.journal.event_table import CameraState, EventNews
from dropsight.journal.mishaps import EncodedRecord
from dropsight.journal.recording import Durable, RecordedEvent, durable, row_of, row_of_message
from dropsight.journal.store import Journal, Row
from dropsight.records import EventMark, Result, encode


class EventStep(NamedTuple):
    """What an event does; `is_news`: it is worth a message of its own."""

    message: EventMessage
    is_news: bool


class Keeper(Protocol):
    """Has the rules of events see each record on its way into the journal; for the recorder's thread."""

    def begin(self) -> None:
        """Go on from what is durable, whatever was weighed since."""

    def weigh(self, record: Result, *, arrived: float) -> Sequence[EventStep]:
        """Return what this record, the next in their order, has events do; `arrived` by the wall clock."""

    def over(self, now: float) -> Sequence[EventStep]:
        """Return the events that have ended without a record, by the wall clock."""

    def states(self) -> Sequence[CameraState]:
        """Return what the rules go on from, of cameras where it is another now."""

    def keep(self) -> None:
        """What was weighed since it began is durable."""

    def kept_ends(self) -> None:
        """The same of what is over."""

    @property
    def seconds_to_next(self) -> float | None:
        """How long until an event may be over, None where none goes on."""


class Entered(NamedTuple):
    """Where a record stands, None for one whose id is on record; and what is told along with it."""

    seq: int | None
    made: EncodedRecord
    told: Sequence[RecordedEvent]

    def durable(self) -> list[Durable]:
        if self.seq is None:
            return []
        return [durable(self.seq, self.made.finished, self.made.line), *self.told]


class Entries(msgspec.Struct, frozen=True):
    """What goes into the journal in one transaction."""

    rows: Sequence[Row]
    news: EventNews
    weighed: Sequence[tuple[EncodedRecord, Sequence[EventMessage]]]
    keeper: Keeper | None

    @classmethod
    def of(cls, group: Sequence[EncodedRecord], keeper: Keeper | None, store: Journal) -> "Entries":
        if keeper is None:
            rows = [row_of(made.finished, made.line) for made in group]
            return cls(rows, EventNews(), [(made, ()) for made in group], None)
        keeper.begin()
        weighed = list[tuple[EncodedRecord, Sequence[EventMessage]]]()
        happened, rows, ids = list[EventStep](), list[Row](), set[str]()
        for made in group:
            record_id = made.finished.record.id
            is_new = record_id not in ids and not store.has(record_id)
            marked, found = _weighed(made, keeper) if is_new else (made, ())
            news = [each.message for each in found if each.is_news]
            ids.add(record_id)
            happened += found
            weighed.append((marked, news))
            rows += [row_of(marked.finished, marked.line), *map(row_of_message, news)]
        return cls(rows, EventNews([each.message for each in happened], keeper.states()), weighed, keeper)

    def keep(self) -> None:
        if self.keeper:
            self.keeper.keep()

    def entered(self, seqs: Sequence[int | None]) -> list[Entered]:
        """Return who stands where."""
        places = iter(seqs)
        return [
            Entered(next(places), made, happened_at(messages, places) if messages else ())
            for made, messages in self.weighed
        ]


def happened_at(messages: Sequence[EventMessage], seqs: Iterator[int | None]) -> list[RecordedEvent]:
    """Take as many of the places as there are messages."""
    placed = [(next(seqs), message) for message in messages]
    return [RecordedEvent.of(seq, message) for seq, message in placed if seq is not None]


def _weighed(made: EncodedRecord, keeper: Keeper) -> tuple[EncodedRecord, Sequence[EventStep]]:
    record = made.finished.record
    if not isinstance(record, Result):
        return made, ()
    happened = keeper.weigh(record, arrived=min(time.time(), made.finished.stat.st_ctime))
    if not happened:
        return made, ()
    marks = [EventMark(message.id, message.name, message.phase) for message, _ in happened]
    marked = msgspec.structs.replace(record, events=marks)
    return EncodedRecord(msgspec.structs.replace(made.finished, record=marked), encode(marked)), happened
