"""Two finished jobs side by side: path by path in step, so that neither is ever held in memory."""

import os
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import msgspec

from dropsight.archive import manifest
from dropsight.archive.job_file import JobFile, read_job
from dropsight.archive.manifest import Named
from dropsight.archive.shard_parts import read_columns
from dropsight.archive.storage import Storage, absolute
from dropsight.errors import ConfigError, StoreError
from dropsight.names import as_shown

# Rounded up.
_SUREST = 1.001
_COLUMNS = ("path", "predicted_class", "label", "confidence")


class Answered(NamedTuple):
    """What a job says of one file; no class where it failed. Files are the same where their `key` is.

    `group` is that of a model that has groups, where the answer is in one.
    """

    key: bytes
    file: Named
    class_index: int | None
    label: str | None
    confidence: float | None
    group: str | None = None


class FinishedJob(msgspec.Struct, frozen=True):
    """A folder of results, and what its job.json says."""

    storage: Storage
    job: JobFile

    @classmethod
    def at(cls, place: str) -> "FinishedJob":
        """Open it; raises ConfigError unless a whole job is there, StoreError."""
        storage = Storage(absolute(place))
        job = read_job(storage)
        if job is None:
            raise ConfigError([f"{place}: there is no job.json: no archive was written there"])
        if job.state != "done":
            done = f"{job.images} of {job.total} images are done"
            raise ConfigError([f"{place}: its job is {job.state}, {done}: finish it first"])
        return cls(storage, job)

    def answers(self, beginning: bytes) -> Iterator[Answered]:
        """Yield them in the order of the paths; their keys are without this beginning of paths."""
        rows = read_columns(self.storage, (*_COLUMNS, "group") if self.job.groups else _COLUMNS)
        for file, row in zip_longest(manifest.read_all(self.storage), rows):
            if file is None or row is None or row[0] != file.path:
                raise StoreError(
                    f"{self.storage.place}: its parts are not those of its manifest: "
                    "call `dropsight archive` for it once more, which does what is missing"
                )
            answered = Answered(os.fsencode(file.opens).removeprefix(beginning), file, *row[1:])
            if answered.confidence is not None and not 0 <= answered.confidence <= _SUREST:
                raise StoreError(
                    f"{self.storage.place}: {as_shown(file.path)} has a confidence of {answered.confidence}"
                )
            yield answered


def side_by_side(
    a: FinishedJob, b: FinishedJob
) -> Iterator[tuple[Answered, Answered] | tuple[Answered, None] | tuple[None, Answered]]:
    """Yield what both say of each file, None for the one that does not have it."""
    ours, theirs = (job.answers(beginning) for job, beginning in zip((a, b), _beginnings(a, b), strict=True))
    one, other = next(ours, None), next(theirs, None)
    while one or other:
        if one and other and one.key == other.key:
            yield one, other
            one, other = next(ours, None), next(theirs, None)
        elif one and (other is None or one.key < other.key):
            yield one, None
            one = next(ours, None)
        elif other:
            yield None, other
            other = next(theirs, None)


def _beginnings(a: FinishedJob, b: FinishedJob) -> tuple[bytes, bytes]:
    """Of one source each, a path counts from there on: the same cards may lie at two places."""
    sources = a.job.sources, b.job.sources
    if len(sources[0]) != 1 or len(sources[1]) != 1:
        return b"", b""
    one, other = (os.fsencode(each[0]).rstrip(b"/") + b"/" for each in sources)
    return one, other
