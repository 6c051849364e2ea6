"""All shards, until each has its part: what is lost with a worker is done again, then image by image.

One whose worker hung goes image by image at once: again, it would take as long again.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import takewhile

import msgspec

from dropsight.archive.engines import ArchiveEngine
from dropsight.archive.tasks import Shard, ShardDone, ShardLost
from dropsight.errors import DropsightError

log = logging.getLogger(__name__)

# A machine may fail, or run short of memory, and take along a shard that is sound.
_MOST_TIMES = 3
_MOST_TRIALS = 2


def drive(
    engine: ArchiveEngine, shards: Sequence[Shard], *, stopped: Callable[[], bool]
) -> Iterator[tuple[Shard, ShardDone]]:
    """Yield each shard as its part is written; once stopped, those that are in hand.

    Raises DropsightError where a shard is lost again without those images that end a worker.
    """
    left, hung = list(shards), list[Shard]()
    for _ in range(_MOST_TIMES):
        lost = yield from _round(engine, left, stopped)
        hung += [shard for shard, how in lost if how.hung]
        left = [shard for shard, how in lost if not how.hung]
    lethal = [_without_lethal(engine, shard, stopped) for shard in (*hung, *left) if not stopped()]
    lost = yield from _round(engine, lethal, stopped)
    if lost and not stopped():
        raise DropsightError(
            f"{lost[0][0].part}: every worker that processes it crashes, "
            "although no single image of it does: check the workers' memory, "
            "then run it again: finished parts are kept"
        )


def _round(
    engine: ArchiveEngine, shards: Sequence[Shard], stopped: Callable[[], bool]
) -> Generator[tuple[Shard, ShardDone], None, list[tuple[Shard, ShardLost]]]:
    """Yield what gets done, return what is lost."""
    lost: list[tuple[Shard, ShardLost]] = []
    for shard, answer in engine.map_unordered(takewhile(lambda _: not stopped(), shards)):
        if isinstance(answer, ShardDone):
            yield shard, answer
        else:
            first, last = shard.start, shard.stop - 1
            log.warning("images %d to %d: the worker was ended by %s", first, last, answer.how)
            lost.append((shard, answer))
    return lost


def _without_lethal(engine: ArchiveEngine, shard: Shard, stopped: Callable[[], bool]) -> Shard:
    """Try each image for itself, and name those that end a worker."""
    trials = [Shard(shard.number, row, row + 1, trial=True) for row in range(shard.start, shard.stop)]
    how: dict[int, str] = {}
    for _ in range(_MOST_TRIALS):
        lost = [
            (trial, answer)
            for trial, answer in engine.map_unordered(takewhile(lambda _: not stopped(), trials))
            if isinstance(answer, ShardLost)
        ]
        trials = [trial for trial, _ in lost]
        how = {trial.start: answer.how for trial, answer in lost}
        if not trials:
            break
    for row, by in how.items():
        log.warning("image %d of the manifest crashes every worker: %s", row, by)
    return msgspec.structs.replace(shard, lethal=how)
