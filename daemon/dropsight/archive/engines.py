"""Engines: who has workers do shards. A third one is one file and one line here."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol, TypeAlias

from dropsight.archive.tasks import ArchiveJob, Shard, ShardDone, ShardLost

Ended: TypeAlias = tuple[Shard, ShardDone | ShardLost]


class ArchiveEngine(Protocol):
    """Made with a job, the model's place and an address; `with` ends its workers."""

    workers: int
    """How many shards are done at a time, as far as is known by now."""
    libraries: tuple[str, ...]
    """Whose versions are worth knowing."""

    def map_unordered(self, shards: Iterable[Shard]) -> Iterator[Ended]:
        """Do `ShardWorker.do` of each shard in some worker, and yield each as it ends.

        A shard is taken from `shards` only when a worker is free for it. One whose worker ended with it is
        ShardLost, and another worker takes the place; raises DropsightError for what would end all.
        """

    def alone(self) -> AbstractContextManager[None]:
        """Have one worker at a time, with all the memory: each that there was is ended before, and after."""

    def close(self) -> None:
        """End the workers at once."""


class MakesEngine(Protocol):
    def __call__(self, job: ArchiveJob, model: str, *, address: str | None, most: int) -> ArchiveEngine:
        """Begin; `most` is how many shards there are to do."""


ENGINES = {
    "local": "dropsight.archive.local_engine:LocalEngine",
    "ray": "dropsight.archive.ray_engine:RayEngine",
}
"""By name, each "module:class", imported when it is asked for."""


def engine_named(name: str) -> MakesEngine:
    module, _, attribute = ENGINES[name].partition(":")
    made: MakesEngine = getattr(import_module(module), attribute)
    return made
