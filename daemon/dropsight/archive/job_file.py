"""job.json: what a job is of, how far it is and how fast, for people, scripts and `--status`."""

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Literal, TypeAlias

import msgspec

from dropsight.archive.storage import Storage
from dropsight.errors import StoreError
from dropsight.version import VERSION

NAME = "job.json"
JobState: TypeAlias = Literal["running", "interrupted", "stopped", "failed", "done"]
"""What is running in the file, and has no driver, is shown as interrupted."""


class ModelCard(msgspec.Struct, frozen=True):
    """The model as the formats need it; `labels` in the order of classes."""

    name: str
    digest: str
    format: str
    quantization: str
    labels: tuple[str, ...]


class JobFile(msgspec.Struct, frozen=True, kw_only=True):
    """`images` of `total` are done, by this call and those before it; the rate and the time are this call's.

    `errors` counts images by the code of their error.
    """

    state: JobState
    total: int
    images: int
    ok: int
    errors: dict[str, int]
    images_per_second: float
    seconds: float
    engine: str
    workers: int
    shard_rows: int
    tta: bool
    embeddings: int = 0
    """Their length, 0 where they are not wanted."""
    groups: bool | None = None
    """Whether its parts have their columns; None of a job that an older dropsight began, whose have none."""
    further: tuple[str, ...] = ()
    """Which of the columns `present`, `heads` and `prediction_set` its parts have."""
    unknown: float | None = None
    sources: tuple[str, ...]
    manifest: str
    model: ModelCard
    begun: str
    updated: str
    versions: dict[str, str]

    def write(self, storage: Storage) -> None:
        with storage.whole(NAME) as file:
            file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def read_job(storage: Storage) -> JobFile | None:
    """Return what stands there, None where nothing does; raises StoreError."""
    data = storage.read(NAME)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=JobFile)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{storage.named(NAME)}: not a job file of dropsight: {error}") from error


def versions(libraries: Sequence[str] = ()) -> dict[str, str]:
    found = {name: metadata.version(name) for name in ("pyarrow", "fsspec", *libraries)}
    return {"dropsight": VERSION, "python": platform.python_version(), **found}
