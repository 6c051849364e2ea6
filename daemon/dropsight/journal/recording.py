"""A finished image on its way into the journal, and out of it again."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from dropsight.errors import DamagedError, ImageError, StoreError
from dropsight.files.filesystems import numbers_anew
from dropsight.intake.candidate import Candidate
from dropsight.intake.folder import DropFolder
from dropsight.journal.event_messages import EventMessage, encode_message
from dropsight.journal.filed import Filed
from dropsight.journal.kept_files import Kept
from dropsight.journal.reader import JournalReader, RecordedFile, is_another
from dropsight.journal.store import Row
from dropsight.records import (
    ErrorFacts,
    Expired,
    Failure,
    Record,
    Result,
    drop_id,
    status_of,
    with_total,
)


class Finished(msgspec.Struct, frozen=True):
    """An image whose record is made but not durable yet; `stat` is of the file as it was read."""

    candidate: Candidate
    stat: os.stat_result
    record: Record

    @property
    def path(self) -> str:
        return self.candidate.path

    def finish(self) -> "Finished":
        return self

    def failed(self, error: ImageError) -> "Finished":
        """Replace the record by one of this failure."""
        return msgspec.structs.replace(self, record=failure_instead(self.record, error))


class Outcome(Protocol):
    """What became of an image."""

    @property
    def candidate(self) -> Candidate: ...

    @property
    def path(self) -> str: ...

    @property
    def stat(self) -> os.stat_result:
        """Of the file as it was read."""

    def finish(self) -> Finished:
        """Make its record: on the recorder's thread by the group, where caches still hold what it takes."""

    def failed(self, error: ImageError) -> Finished:
        """Make the record of its failure instead."""


class Recorded(msgspec.Struct, frozen=True):
    """A durable record; `line` is its final form, total latency included."""

    seq: int
    finished: Finished
    line: bytes
    total_ms: float

    @property
    def record(self) -> Record:
        return self.finished.record


class RecordedBurst(msgspec.Struct, frozen=True):
    """A durable record of no file of its own, as of a burst; the rest as above."""

    seq: int
    record: Result
    line: bytes
    total_ms: float


class RecordedEvent(msgspec.Struct, frozen=True):
    """A durable message of an event."""

    seq: int
    message: EventMessage
    line: bytes

    @classmethod
    def of(cls, seq: int, message: EventMessage) -> "RecordedEvent":
        return cls(seq, message, encode_message(message))


Durable: TypeAlias = Recorded | RecordedBurst | RecordedEvent


def records_in(entries: Iterable[Durable]) -> list[Recorded | RecordedBurst]:
    """Return what is not of an event."""
    return [entry for entry in entries if not isinstance(entry, RecordedEvent)]


class Listener(Protocol):
    """Hears of records as they become visible, and is promised nothing: followers are."""

    def hear(self, recorded: Sequence[Durable], /) -> None:
        """On the recorder's thread: it must not take long."""


class Audience:
    """Who hears of records, in the order in which they came. Complete before the recorder runs."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def admit(self, *listeners: Listener | None) -> None:
        self._listeners.extend(each for each in listeners if each)

    def hear(self, recorded: Sequence[Durable], /) -> None:
        for listener in self._listeners:
            listener.hear(recorded)


class FilingRules(msgspec.Struct, frozen=True):
    """`durable`: images are on disk before their records. Nothing larger than `max_copy_bytes` is copied."""

    durable: bool
    max_copy_bytes: int


def failure_instead(record: Record, error: ImageError) -> Failure:
    """Return the record of this failure for an image that had another record."""
    return Failure(
        id=record.id,
        time=record.time,
        device=record.device,
        camera=record.camera,
        image_path=record.image_path,
        kind=record.kind,
        error=ErrorFacts(error.code, str(error)),
        model=None if isinstance(record, Expired) else record.model,
        latency_ms=record.latency_ms,
    )


def row_of(finished: Finished, line: bytes) -> Row:
    candidate, stat, record = finished.candidate, finished.stat, finished.record
    keeps = candidate.folder.settings.after == "keep"
    path = os.fsencode(candidate.path)
    return Row(
        record.id,
        path,
        stat.st_size,
        stat.st_mtime_ns,
        record.camera,
        status_of(record),
        line,
        kept=Kept.of(candidate.path, stat, candidate.digest) if keeps else None,
        inode=stat.st_ino,
        changed_ns=stat.st_ctime_ns,
        digest=candidate.digest,
    )


def row_of_message(message: EventMessage) -> Row:
    return Row(message.message_id, b"", 0, 0, message.camera, "event", encode_message(message))


def durable(seq: int, finished: Finished, line: bytes) -> Recorded:
    total_ms = (time.monotonic() - finished.candidate.ready_at) * 1e3
    return Recorded(seq, finished, with_total(line, total_ms), total_ms)


def repeated(finished: Finished, repeat: int) -> Finished:
    record, stat, candidate = finished.record, finished.stat, finished.candidate
    relative = os.fsencode(candidate.relative)
    again = drop_id(record.device, relative, stat.st_size, stat.st_mtime_ns, repeat=repeat)
    return msgspec.structs.replace(finished, record=msgspec.structs.replace(record, id=again))


def free_repeat(finished: Finished, reader: JournalReader) -> int:
    """Find an ordinal that is not on record by halving: the thousandth drop costs ten looks more."""

    def on_record(repeat: int) -> bool:
        return reader.find(repeated(finished, repeat).record.id) is not None

    taken, free = 0, 1
    try:
        while on_record(free):
            taken, free = free, 2 * free
        while free - taken > 1:
            middle = (taken + free) // 2
            taken, free = (middle, free) if on_record(middle) else (taken, middle)
    except DamagedError:
        raise
    except StoreError:  # whoever commits finds out as well, and waits
        return 1
    return free


def stays_as(finished: Finished) -> Kept:
    """By what the ledger knows an image that stays where it is: too large to be read, size and time do."""
    return msgspec.structs.replace(Kept.of(finished.path, finished.stat, None), changed_ns=None)


def place_of(entry: Recorded) -> tuple[DropFolder, bool]:
    """Where it goes."""
    return entry.finished.candidate.folder, status_of(entry.finished.record) == "ok"


def held_up_with(entry: Recorded) -> tuple[DropFolder, bool, str]:
    """Return of which images what holds this one up holds up all.

    Of no other camera: a folder may be a disk of its own there, or full by itself, as on FAT.
    """
    return *place_of(entry), entry.finished.record.camera


def parted_by_renewal(entries: Iterable[Recorded]) -> tuple[list[Recorded], list[Recorded]]:
    """Part those that, as far as is known, nobody has written over since from those that somebody has."""
    left, renewed = list[Recorded](), list[Recorded]()
    for entry in entries:  # it may be written over at any moment: each is asked once
        (renewed if entry.finished.candidate.renewed else left).append(entry)
    return left, renewed


def filed_of(entry: Recorded) -> Filed:
    finished, stat = entry.finished, entry.finished.stat
    return Filed(
        entry.seq, finished.candidate.path, stat.st_size, stat.st_mtime_ns, finished.record, stat.st_ino
    )


def returned(
    finished: Finished,
    repeat: int,
    reader: JournalReader,
    *,
    upto: int,
    is_back: Callable[[RecordedFile, os.stat_result], bool],
) -> RecordedFile | None:
    """Recognize a file that is on record: a loss of power brought it back from where it had been filed.

    Or its inbox was away when it was to be filed, and `is_back`. Else only up to the records of earlier
    lives, and of what was filed only where a renaming changes a time: else what somebody moved back is alike.
    One that stays where it is, in a folder that was away for so long that the ledger forgot it, is known by
    its place and the time of its latest change, and by its content where the ledger knows another one there.
    """
    row, digest = reader.find(repeated(finished, repeat).record.id), finished.candidate.digest
    if row is None or is_another(digest, row.digest):
        return None
    if finished.candidate.folder.settings.after == "keep":
        known = row.is_untouched_at(finished.path, finished.stat)
        known = known and not (None in {digest, row.digest} and reader.keeps_other_content(row.path, digest))
    else:
        known = is_back(row, finished.stat)
        if not known and row.seq <= upto and row.is_of_the_very(finished.stat):
            known = reader.is_left(row) or not numbers_anew(finished.candidate.folder.root)
    return row if known else None
