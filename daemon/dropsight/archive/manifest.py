"""The manifest: which files there are, listed once, in the order of their paths; what a job is held to."""

import os
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from dropsight.archive.listing import Listed
from dropsight.archive.scratch import scratch
from dropsight.archive.storage import Storage, told
from dropsight.errors import StoreError
from dropsight.names import as_text

NAME = "manifest.parquet"
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("mtime", pa.timestamp("us", "UTC")),
        pa.field("etag", pa.string()),
        # The path's bytes where they are not UTF-8, so that `path` cannot open it.
        pa.field("path_bytes", pa.binary()),
    ]
)
_GROUP_ROWS = 10_000
_FACTS = b"dropsight"


class ManifestFacts(msgspec.Struct, frozen=True):
    """What its footer says; `sources` as they were given."""

    digest: str
    rows: int
    sources: tuple[str, ...]


class Named(NamedTuple):
    """A file of the manifest: `opens` is what it is opened by, `path` what is written of it."""

    path: str
    opens: str
    size: int | None
    mtime_us: int | None


def write_manifest(storage: Storage, found: Iterable[Listed], sources: Sequence[str]) -> ManifestFacts:
    """Sort, each path once, and write; memory stays flat, what does not fit lies in a temporary file."""
    digest, rows = blake2b(digest_size=16), 0
    with storage.whole(NAME) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        ordered = _sorted(found)
        while group := list(islice(ordered, _GROUP_ROWS)):
            for each in group:
                digest.update(repr(tuple(each)).encode())
            rows += len(group)
            writer.write_table(_table(group))
        facts = ManifestFacts(f"blake2b:{digest.hexdigest()}", rows, tuple(sources))
        writer.add_key_value_metadata({_FACTS: msgspec.json.encode(facts)})
    return facts


def _sorted(found: Iterable[Listed]) -> Iterator[Listed]:
    with scratch() as base:
        base.execute("CREATE TABLE files (path BLOB, size INTEGER, mtime_us INTEGER, etag TEXT)")
        base.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", found)
        yield from map(Listed._make, base.execute("SELECT * FROM files GROUP BY path ORDER BY path"))


def _table(group: Sequence[Listed]) -> pa.Table:
    texts = [as_text(os.fsdecode(each.path)) for each in group]
    return pa.table(
        {
            "path": texts,
            "size": [each.size for each in group],
            "mtime": [each.mtime_us for each in group],
            "etag": [each.etag for each in group],
            "path_bytes": [
                None if text.encode() == each.path else each.path
                for text, each in zip(texts, group, strict=True)
            ],
        },
        SCHEMA,
    )


def read_facts(storage: Storage) -> ManifestFacts | None:
    """Return what the manifest's footer says, None where there is none; raises StoreError."""
    with told(storage.named(NAME), "read"):
        try:
            with storage.reading(NAME) as file:
                footer = pq.read_metadata(file)
        except FileNotFoundError:
            return None
    try:
        facts = msgspec.json.decode((footer.metadata or {})[_FACTS], type=ManifestFacts)
    except (KeyError, ValueError, RecursionError) as error:
        raise _no_manifest(storage) from error
    groups = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    if facts.rows != sum(groups) or max(groups, default=0) > _GROUP_ROWS:  # however many it claims
        raise _no_manifest(storage)
    return facts


def _no_manifest(storage: Storage) -> StoreError:
    return StoreError(f"{storage.named(NAME)}: not a manifest of dropsight")


def read_rows(storage: Storage, start: int, stop: int) -> list[Named]:
    """Return some rows, of which only the groups are read that hold them."""
    with told(storage.named(NAME), "read"), storage.reading(NAME) as file, pq.ParquetFile(file) as manifest:
        if _columns(manifest.schema_arrow) != _columns(SCHEMA):
            raise _no_manifest(storage)
        first, last = start // _GROUP_ROWS, (stop - 1) // _GROUP_ROWS
        table = manifest.read_row_groups(range(first, last + 1))
        table.validate(full=True)
    if table["path"].null_count:
        raise _no_manifest(storage)
    rows = table.slice(start - first * _GROUP_ROWS, stop - start)
    mtimes = rows["mtime"].cast(pa.int64()).to_pylist()
    columns = (rows["path"].to_pylist(), rows["path_bytes"].to_pylist(), rows["size"].to_pylist(), mtimes)
    return [
        Named(path, path if raw is None else os.fsdecode(raw), size, mtime)
        for path, raw, size, mtime in zip(*columns, strict=True)
    ]


def _columns(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in schema]


def read_all(storage: Storage) -> Iterator[Named]:
    """Yield all rows, a group in memory at a time; raises StoreError."""
    facts = read_facts(storage)
    rows = facts.rows if facts else 0
    for start in range(0, rows, _GROUP_ROWS):
        yield from read_rows(storage, start, min(start + _GROUP_ROWS, rows))
