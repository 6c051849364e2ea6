"""Files that other programs read, written of the parts once all are there. A new one is a line here."""

from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from dropsight.archive.job_file import JobFile
from dropsight.archive.shard_parts import read_all
from dropsight.archive.storage import Storage

if TYPE_CHECKING:
    from dropsight.archive.deployments import Deployments


class FormatFacts(NamedTuple):
    """What a format may want to know beside the rows; `job` has the model, its labels, the sources."""

    job: JobFile
    deployments: "Deployments | None" = None


class OutputFormat(NamedTuple):
    """The names of its files, and "module:function", which is imported when it is asked for.

    The function takes all rows, in the manifest's order, FormatFacts, and a path for each file. Of several,
    in a folder of their own, the first is there only once all others are.
    """

    names: tuple[str, ...]
    by: str
    folder: str = ""

    def storage(self, results: Storage) -> Storage:
        return Storage(results.named(self.folder)) if self.folder else results

    @property
    def shown(self) -> str:
        """What is named to people."""
        return f"{self.folder}/{self.names[0]}" if self.folder else self.names[0]


CAMTRAP_DP = "camtrap-dp"
FORMATS = {
    "jsonl": OutputFormat(("results.jsonl",), "dropsight.archive.json_lines:write_json_lines"),
    "csv": OutputFormat(("results.csv",), "dropsight.archive.csv_table:write_csv"),
    "megadetector": OutputFormat(("megadetector.json",), "dropsight.archive.megadetector:write_megadetector"),
    CAMTRAP_DP: OutputFormat(
        ("datapackage.json", "deployments.csv", "media.csv", "observations.csv"),
        "dropsight.archive.camtrap_dp:write_camtrap_dp",
        CAMTRAP_DP,
    ),
    "speciesnet": OutputFormat(("predictions.json",), "dropsight.archive.speciesnet:write_speciesnet"),
}
"""Beside parquet, which the parts are."""
PARQUET = "parquet"


def write_format(name: str, results: Storage, facts: FormatFacts) -> str:
    """Write it whole or not at all; return where it is."""
    made = FORMATS[name]
    module, _, attribute = made.by.partition(":")
    write: Callable[..., None] = getattr(import_module(module), attribute)
    storage = made.storage(results)
    if made.folder:
        storage.need_own()
        storage.make()
        storage.sweep()
        storage.remove([each for each in made.names[:1] if each in storage.names()])
    with ExitStack() as files:
        write(read_all(results), facts, *[files.enter_context(storage.whole(each)) for each in made.names])
    return results.named(made.shown)


def remove_formats(results: Storage) -> None:
    for made in FORMATS.values():
        storage = made.storage(results)
        if made.folder:
            storage.need_own()
        there = storage.names()
        storage.remove([name for name in made.names if name in there])
        if made.folder:
            storage.unmake()
