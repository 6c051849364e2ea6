"""From merged probabilities to what a picture shows: the best of each head, the surest region."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.inference.planning import Plan
from dropsight.inference.ranking import predictions, present
from dropsight.inference.wording import Wording
from dropsight.models.spec import ModelSpec
from dropsight.records import Box, HeadAnswer, Heads, Prediction, Present, Region, Regions


class Ranking(msgspec.Struct, frozen=True):
    """The best of the main answer, which of its classes are there, and the same of each head.

    `wording` is what the main answer is called.
    """

    predictions: Sequence[Prediction]
    present: Present
    heads: Heads
    wording: Wording


class Found(msgspec.Struct, frozen=True):
    """What a picture shows: of several regions, `best` is the answer of the surest, which `region` names."""

    best: Ranking
    region: str | msgspec.UnsetType = msgspec.UNSET
    regions: Regions = msgspec.UNSET

    @property
    def predictions(self) -> Sequence[Prediction]:
        return self.best.predictions


def judged(rows: NDArray[np.float32], plan: Plan, sums: Sequence[NDArray[np.float32] | None] = ()) -> Found:
    """Rank what `merged` returned; the surest region is the first of those, the ones that say what it is.

    `sums`, one a region, are those of the groups, where they are not the rows' own.
    """
    sums = sums or [None] * len(rows)
    if plan.sight is None or not plan.sight.crops:
        return Found(ranked(rows[0], plan, sums[0]))
    found = {
        name: ranked(row, plan, own) for name, row, own in zip(plan.sight.crops, rows, sums, strict=True)
    }
    regions = [_region(name, plan.sight.crops[name], each) for name, each in found.items()]
    surest = max(regions, key=lambda each: (each.would_be is msgspec.UNSET, each.confidence))
    return Found(found[surest.name], surest.name, regions)


def _region(name: str, box: Box, found: Ranking) -> Region:
    return Region(
        name=name,
        box=box,
        confidence=found.predictions[0].confidence,
        predictions=list(found.predictions),
        present=found.present,
        heads=found.heads,
        **msgspec.structs.asdict(found.wording),
    )


def ranked(merged: NDArray[np.float32], plan: Plan, sums: NDArray[np.float32] | None = None) -> Ranking:
    """Return the best of the main answer, and what else is likely enough; the same of each head.

    `sums` are those of the groups, where they are not the merged ones'.
    """
    start, found = 0, {}
    for name, _, spec in plan.parts:
        end = start + len(spec.labels)
        found[name] = _answer_of(merged[start:end], spec, plan)
        start = end
    main = next(iter(found.values()))
    wording = plan.namer.name(merged[: len(plan.spec.labels)], main.predictions, sums)
    return Ranking(main.predictions, main.present, found if plan.spec.heads else msgspec.UNSET, wording)


def _answer_of(merged: NDArray[np.float32], spec: ModelSpec, plan: Plan) -> HeadAnswer:
    likely = _likely(predictions(merged, spec.labels, plan.inference.top_k), plan)
    return HeadAnswer.of(likely, present(merged, spec) if spec.multi_label else msgspec.UNSET)


def _likely(ranked: list[Prediction], plan: Plan) -> list[Prediction]:
    if not plan.inference.min_confidence:
        return ranked
    best, *others = ranked
    return [best, *[entry for entry in others if entry.confidence >= plan.inference.min_confidence]]
