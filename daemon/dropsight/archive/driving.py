"""All shards, until each has its part: what is lost with a worker is done again, then image by image.

One whose worker hung goes image by image at once: again, it would take as long again. What is suspected is
tried alone in the end: of two that have not enough memory together, or of whom the kernel ends one, none is
guilty. Those whose server does not answer come again when all others are done.
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


def drive(
    engine: ArchiveEngine, shards: Sequence[Shard], *, stopped: Callable[[], bool]
) -> Iterator[tuple[Shard, ShardDone]]:
    """Yield each shard as its part is written; once stopped, those that are in hand.

    Raises DropsightError where a shard is lost again without those images that end a worker.
    """
    left, hung, unanswered = list(shards), list[Shard](), list[Shard]()
    for _ in range(_MOST_TIMES):
        lost = yield from _round(engine, left, stopped)
        hung += [shard for shard, how in lost if how.hung]
        unanswered += [shard for shard, how in lost if how.unanswered]
        left = [shard for shard, how in lost if not (how.hung or how.unanswered)]
    last = [msgspec.structs.replace(shard, last=True) for shard in unanswered]
    lost = yield from _round(engine, last, stopped)
    suspects = [*hung, *left, *(shard for shard, _ in lost)]
    lethal = [_without_lethal(engine, shard, stopped) for shard in suspects if not stopped()]
    lost = yield from _round(engine, lethal, stopped)
    if lost and not stopped():
        with engine.alone():
            lost = yield from _round(engine, [shard for shard, _ in lost], stopped)
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
            log.warning("images %d to %d: %s", first, last, answer.said)
            lost.append((shard, answer))
    return lost


def _without_lethal(engine: ArchiveEngine, shard: Shard, stopped: Callable[[], bool]) -> Shard:
    """Try each image for itself, and name those that end a worker: twice, the second time alone."""
    rows = range(shard.start, shard.stop)
    lost = _tried(engine, [Shard(shard.number, row, row + 1, trial=True, last=True) for row in rows], stopped)
    hung = _tried(engine, [trial for trial, answer in lost if answer.hung], stopped)
    others = [trial for trial, answer in lost if not answer.hung]
    if others:
        with engine.alone():
            hung += _tried(engine, others, stopped)
    how = {trial.start: answer.how for trial, answer in hung}
    for row, by in how.items():
        log.warning("image %d of the manifest crashes every worker: %s", row, by)
    return msgspec.structs.replace(shard, lethal=how, last=True)


def _tried(
    engine: ArchiveEngine, trials: Sequence[Shard], stopped: Callable[[], bool]
) -> list[tuple[Shard, ShardLost]]:
    """Return those that were lost."""
    answers = engine.map_unordered(takewhile(lambda _: not stopped(), trials)) if trials else ()
    return [(trial, answer) for trial, answer in answers if isinstance(answer, ShardLost)]
