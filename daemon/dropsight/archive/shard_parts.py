"""Parts: a shard's rows in a file that is there whole or not at all, and says in its footer what it is of."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from dropsight.archive.rows import FURTHER, GROUPS, SCHEMA, ArchiveRow, as_table, rows_of
from dropsight.archive.storage import Storage, told
from dropsight.archive.tasks import ArchiveJob, JobMark, Shard
from dropsight.errors import ConfigError, StoreError
from dropsight.version import VERSION

_FACTS = b"dropsight"
# A footer costs a round trip or two.
_READERS = 16
_BATCH_ROWS = 2_048
_TYPES = {field.name: field.type for field in (*SCHEMA, *GROUPS, *FURTHER)}


class PartFacts(msgspec.Struct, frozen=True):
    """What a footer says: whose part it is, and its rows by status or the code of their error."""

    job: JobMark
    start: int
    stop: int
    counts: dict[str, int]
    written: str
    version: str


def write_part(
    job: ArchiveJob, shard: Shard, rows: Sequence[ArchiveRow], *, features: int = 0
) -> dict[str, int]:
    """Write it, unless it is a trial, and return the counts; `features` is the length of embeddings."""
    counts: dict[str, int] = {}
    for row in rows:
        key = row.error_code or row.status
        counts[key] = counts.get(key, 0) + 1
    now = datetime.now(UTC).isoformat(timespec="seconds")
    facts = PartFacts(job.mark(), shard.start, shard.stop, counts, now, VERSION)
    table = as_table(rows, groups=job.groups, further=job.further, features=features)
    table = table.replace_schema_metadata({_FACTS: msgspec.json.encode(facts)})
    if shard.trial:  # what cannot be written is to be found as well
        return {}
    with job.storage.whole(shard.part) as file:
        pq.write_table(table, file, compression="zstd")
    return counts


def is_part(name: str) -> bool:
    return name.startswith("part-") and name.endswith(".parquet")


def finished(job: ArchiveJob, shards: Sequence[Shard]) -> dict[int, PartFacts]:
    """Return what is there already by the shards' numbers; raises ConfigError where it is another job's."""
    there = set(filter(is_part, job.storage.names()))
    wanted = [shard for shard in shards if shard.part in there]
    with ThreadPoolExecutor(_READERS) as pool:
        facts = pool.map(lambda shard: _facts_of(job, shard), wanted)
        found = {shard.number: fact for shard, fact in zip(wanted, facts, strict=True)}
    if strangers := there - {shard.part for shard in wanted}:
        raise _another(job, min(strangers), "no part of this manifest")
    return found


def _facts_of(job: ArchiveJob, shard: Shard) -> PartFacts:
    storage, part = job.storage, shard.part
    with told(storage.named(part), "read"), storage.reading(part) as file:
        footer = pq.read_metadata(file)
    try:
        facts = msgspec.json.decode((footer.metadata or {})[_FACTS], type=PartFacts)
    except (KeyError, ValueError, RecursionError) as error:
        raise _another(job, part, "not a part of a dropsight archive") from error
    _need_ours(job, part, facts.job)
    if (facts.start, facts.stop, footer.num_rows) != (shard.start, shard.stop, shard.rows):
        raise _another(job, part, "not the part of its rows")
    return facts


def _need_ours(job: ArchiveJob, part: str, found: JobMark) -> None:
    wanted = job.mark()
    for name, what in (
        ("manifest", "of another manifest"),
        ("model", f"of another model, {found.model}"),
        ("shard_rows", f"of shards of {found.shard_rows}"),
        ("tta", f"made {'with' if found.tta else 'without'} --tta"),
        ("embeddings", f"made {'with' if found.embeddings else 'without'} --embeddings"),
        ("unknown", f"made {'without' if found.unknown is None else 'with'} --unknown{_flat(found.unknown)}"),
        ("groups", f"made {'with' if found.groups else 'without'} groups"),
        ("further", f"made {_columns(found.further, wanted.further)}"),
        ("settings", "made by other labels, groups or settings of the model"),
    ):
        if name == "settings" and not found.settings:
            continue
        if getattr(found, name) != getattr(wanted, name):
            raise _another(job, part, what)


def _flat(unknown: float | None) -> str:
    return "" if unknown is None else f" {unknown:g}"


def _columns(found: Sequence[str], wanted: Sequence[str]) -> str:
    """Say which are there that are not wanted; else which are missing."""
    more = [name for name in found if name not in wanted]
    missing = [name for name in wanted if name not in found]
    return f"{'with' if more else 'without'} {columns_named(more or missing)}"


def columns_named(names: Sequence[str]) -> str:
    return f"the column{'s' * (len(names) > 1)} {', '.join(names)}"


def _another(job: ArchiveJob, part: str, what: str) -> ConfigError:
    return ConfigError(
        [f"{job.storage.named(part)}: {what}; name another folder, or start over with --overwrite"]
    )


def read_all(storage: Storage) -> Iterator[ArchiveRow]:
    """Yield the rows of all parts in the manifest's order, some in memory at a time, without embeddings."""
    for name, table in _tables(storage):
        with _understood(storage.named(name)):
            rows = rows_of(table)
        yield from rows


def read_columns(storage: Storage, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield some columns of all parts as `read_all` does whole rows."""
    for name, table in _tables(storage, columns):
        with _understood(storage.named(name)):
            found = [table[column].to_pylist() for column in columns]
        yield from zip(*found, strict=True)


def _tables(storage: Storage, columns: Sequence[str] = ()) -> Iterator[tuple[str, pa.Table]]:
    """Yield pieces of all parts, which strangers may have made; raises StoreError."""
    for name in filter(is_part, storage.names()):
        place = storage.named(name)
        with told(place, "read"), storage.reading(name) as file, pq.ParquetFile(file) as part:
            found = part.schema_arrow
            more = [each.name for each in (*GROUPS, *FURTHER) if each.name in found.names]
            wanted = columns or [*SCHEMA.names, *more]
            if not all(_is_ours(found, column) for column in wanted):
                raise StoreError(f"{place}: not a part of a dropsight archive")
            for batch in part.iter_batches(_BATCH_ROWS, columns=list(wanted)):
                batch.validate(full=True)
                yield name, pa.Table.from_batches([batch])


def _is_ours(found: pa.Schema, column: str) -> bool:
    return found.names.count(column) == 1 and bool(found.field(column).type == _TYPES[column])


@contextmanager
def _understood(place: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OverflowError) as error:  # nothing where something has to be; a time beyond any
        raise StoreError(f"{place}: not a part of a dropsight archive: {error}") from error
