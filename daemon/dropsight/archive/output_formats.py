"""Files that other programs read, written of the parts once all are there. A new one is a line here."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

from dropsight.archive.job_file import JobFile
from dropsight.archive.rows import ArchiveRow
from dropsight.archive.shard_parts import read_all
from dropsight.archive.storage import Storage


class RowWriter(Protocol):
    def __call__(self, rows: Iterator[ArchiveRow], job: JobFile, file: Path, /) -> None:
        """Write all rows, in the manifest's order, to `file`; `job` has the model, its labels, the counts."""


class OutputFormat(NamedTuple):
    """The name of its file, and "module:function", a RowWriter that is imported when it is asked for."""

    name: str
    by: str


FORMATS = {
    "jsonl": OutputFormat("results.jsonl", "dropsight.archive.json_lines:write_json_lines"),
    "csv": OutputFormat("results.csv", "dropsight.archive.csv_table:write_csv"),
}
"""Beside parquet, which the parts are."""
PARQUET = "parquet"


def write_format(name: str, storage: Storage, job: JobFile) -> str:
    """Write it whole or not at all; return where it is."""
    made = FORMATS[name]
    module, _, attribute = made.by.partition(":")
    write: Callable[[Iterator[ArchiveRow], JobFile, Path], None] = getattr(import_module(module), attribute)
    with storage.whole(made.name) as file:
        write(read_all(storage), job, file)
    return storage.named(made.name)
