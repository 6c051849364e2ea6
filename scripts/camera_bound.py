"""How few visits any rule could lose that judges by two answers, were it chosen on these very days."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from camera_alarms import Seen, Settings, World

STEPS = 256
"""An INT8 model tells no more shares apart."""
_NEVER = 1_000_000_000
Pair = tuple[int, int]
"""How sure the two surest answers are, of STEPS."""
Claims = dict[tuple[str, str], list[tuple[Seen, float]]]
"""What is said of each thing at each camera, in order, and how surely."""


def claims_of(seen: Sequence[Seen], world: World) -> Claims:
    found: Claims = defaultdict(list)
    for each in seen:
        for thing, sure in world.claims(each.records["off"]).items():
            found[each.camera, thing].append((each, sure))
    return found


def pairs_of_visits(claims: Claims, visits: set[int]) -> list[Pair]:
    """Return the two surest answers of each that name it, however far apart they are."""
    sure: dict[int, list[float]] = {visit: [0.0, 0.0] for visit in visits}
    for (_, thing), said in claims.items():
        for each, share in said:
            if each.picture.visit in sure and each.picture.thing == thing:
                sure[each.picture.visit].append(share)
    return [_pair(each) for each in sure.values()]


def pairs_of_nothing(claims: Claims, settings: Settings) -> list[Pair]:
    """Return the surest answer of each stretch that names what is not there, and the next one near it.

    Stretches that a cooldown would make one alarm are one, those that it would hide behind a visit none.
    """
    found = []
    for (_, thing), said in claims.items():
        for stretch in _stretches(said, settings.cooldown):
            if any(_is_there(each, thing) for each, _ in stretch):
                continue
            top, sure = max(stretch, key=lambda each: each[1])
            near = [
                share
                for each, share in stretch
                if each is not top and abs(each.picture.at - top.picture.at) <= settings.within
            ]
            found.append(_pair([sure, *near, 0.0]))
    return found


def least_lost(visits: Iterable[Pair], nothing: Iterable[Pair], *, alarms: int) -> int:
    """Return how many visits the best rule loses that gives at most so many alarms of nothing.

    A rule is any set of pairs that with a pair has all that are as sure or surer: for each first answer a
    least second one, which is no higher for a surer first. All of them are gone through, from the surest
    first answer down, by that least and by the alarms so far.
    """
    there, not_there = _counted(visits), _counted(nothing)
    best = np.full((STEPS + 2, alarms + 1), _NEVER)
    best[0, 0] = 0
    for first in range(STEPS, -1, -1):
        before = np.minimum.accumulate(best, axis=0)
        best = np.full_like(before, _NEVER)
        lost = np.concatenate([[0], np.cumsum(there[first])])
        told = not_there[first].sum() - np.concatenate([[0], np.cumsum(not_there[first])])
        for least in np.flatnonzero(told <= alarms):
            count = told[least]
            best[least, count:] = before[least, : alarms + 1 - count] + lost[least]
    return int(best.min())


def _counted(pairs: Iterable[Pair]) -> NDArray[np.int64]:
    counts = np.zeros((STEPS + 1, STEPS + 1), np.int64)
    for first, second in pairs:
        counts[first, second] += 1
    return counts


def _pair(shares: Sequence[float]) -> Pair:
    first, second, *_ = sorted(shares, reverse=True)
    return min(round(first * STEPS), STEPS), min(round(second * STEPS), STEPS)


def _is_there(each: Seen, thing: str) -> bool:
    return each.picture.visit is not None and each.picture.thing == thing


def _stretches(said: Sequence[tuple[Seen, float]], apart: float) -> Iterator[Sequence[tuple[Seen, float]]]:
    """Yield those that so many seconds or more lie between."""
    cuts = [
        number
        for number, ((one, _), (other, _)) in enumerate(pairwise(said), 1)
        if other.picture.at - one.picture.at > apart
    ]
    for start, end in pairwise([0, *cuts, len(said)]):
        yield said[start:end]
