"""Of which inbox a message of an event is: where its picture came from, or its camera's latest one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from dropsight.config import Watch
from dropsight.config.event_rules import CAMERA_PROBLEM
from dropsight.journal.event_messages import EventMessage
from dropsight.journal.reader import JournalReader
from dropsight.records import Glance


class _Recorded(msgspec.Struct):
    id: str = ""


_recorded = Glance(_Recorded)
UNKNOWN = "?"
"""Of a camera of which nothing is on record any more; of all such together."""


def inboxes_of(messages: Sequence[EventMessage], journal: Path, watches: Sequence[Watch]) -> list[str]:
    """Return their folders, in their order; "" of what is wrong with no camera."""
    with closing(JournalReader(journal)) as reader:
        return [_inbox_of(each, reader, watches) for each in messages]


def _inbox_of(message: EventMessage, journal: JournalReader, watches: Sequence[Watch]) -> str:
    record_id = message.best.id
    if not record_id:
        if not message.name.startswith(CAMERA_PROBLEM):
            return ""
        line = journal.latest(message.camera)
        record_id = _recorded.at(line).id if line else ""
    row = journal.find(record_id)
    return max(_around(row.path, watches), key=len, default=UNKNOWN) if row else UNKNOWN


def _around(path: bytes, watches: Sequence[Watch]) -> Iterator[str]:
    for each in watches:
        if path.startswith(os.fsencode(each.path) + b"/"):
            yield os.fspath(each.path)
