"""What another model changes: two jobs' answers for the same files, counted."""

from collections import Counter
from functools import lru_cache

import msgspec

from dropsight.archive.changed_pairs import ChangedAnswer, ChangedPair, ChangedPairs
from dropsight.archive.job_file import ModelCard
from dropsight.archive.scratch import scratch
from dropsight.archive.side_by_side import Answered, FinishedJob, side_by_side
from dropsight.archive.truths import Truths
from dropsight.errors import ConfigError
from dropsight.models.labels import class_named, numbers_by_name, plain

MOST_PAIRS, MOST_CLASSES, EXAMPLES = 50, 200, 3
# Of the confidence's shift, from -1 to 1 in steps of a tenth; the one in the middle is "as before".
STEPS = 21


class Side(msgspec.Struct, frozen=True):
    """One of the two; `only` are files that the other does not have, `failed` those that it alone failed."""

    place: str
    sources: tuple[str, ...]
    model: str
    model_format: str
    quantization: str
    tta: bool
    digest: str
    finished: str
    images: int
    only: int
    failed: int

    @property
    def described(self) -> str:
        tta = ", --tta" if self.tta else ""
        return f"{self.model} ({self.model_format}, {self.quantization}{tta})"


class Confidence(msgspec.Struct, frozen=True):
    """Means; None where there is nothing to take one of."""

    images: int
    a: float | None
    b: float | None


class ClassChange(msgspec.Struct, frozen=True):
    """Of the files that show one class."""

    label: str
    images: int
    right_a: int
    right_b: int
    better: int
    worse: int


class AgainstTruths(msgspec.Struct, frozen=True, kw_only=True):
    """Of the files that both classified and whose label is a class of either.

    `unknown_a` are labelled with what is no class of A: it cannot be right. `left_out` are labelled with what
    is a class of neither, `strange` the first of these; `unused` labels are for files that are not in both.
    """

    by: str
    images: int
    right_a: int
    right_b: int
    better: int
    worse: int
    unknown_a: int
    unknown_b: int
    left_out: int
    strange: str | None
    unused: int
    classes: list[ClassChange]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`compared` are the files that both have and both classified; `pairs` the different kinds of changes.

    `agreed_by_group` counts those that agree, or are of the same group; None unless both models have groups.
    `shifts` counts the compared by how much surer B is, from -1 to 1 in steps of a tenth.
    """

    a: Side
    b: Side
    both: int
    failed_both: int
    compared: int
    agreed: int
    agreed_by_group: int | None
    confidence: Confidence
    confidence_agreed: Confidence
    confidence_changed: Confidence
    shifts: list[int]
    pairs: int
    changed: list[ChangedPair]
    truths: AgainstTruths | None
    not_compared: tuple[str, ...]
    """What either has beside one class for each file: `present`, where several may be there, and `heads`."""


def compare(a: FinishedJob, b: FinishedJob, truths: Truths | None = None) -> Comparison:
    """Read both once, a part at a time; raises ConfigError where they have no file in common, StoreError."""
    with scratch() as base:
        counting = _Counting(a, b, truths, ChangedPairs(base))
        for one, other in side_by_side(a, b):
            counting.add(one, other)
        if not counting.counts["both"]:
            places = [f"{job.storage.place} is of {', '.join(job.job.sources)}" for job in (a, b)]
            raise ConfigError([f"compare: no path is in both: {', '.join(places)}"])
        return counting.comparison()


class _Means:
    def __init__(self) -> None:
        self.images, self.a, self.b = 0, 0.0, 0.0

    def add(self, a: float, b: float) -> None:
        self.images, self.a, self.b = self.images + 1, self.a + a, self.b + b

    def found(self) -> Confidence:
        if not self.images:
            return Confidence(0, None, None)
        return Confidence(self.images, round(self.a / self.images, 6), round(self.b / self.images, 6))


class _Judge:
    """Whether answers are right by the labels."""

    def __init__(self, a: ModelCard, b: ModelCard, truths: Truths) -> None:
        self._truths = truths
        self._labels = a.labels, b.labels
        self._numbers = numbers_by_name(a.labels), numbers_by_name(b.labels)
        self.counts = Counter[str]()
        self.strange: str | None = None
        self._classes: dict[str, Counter[str]] = {}
        self._classes_called = lru_cache(4096)(self._called)

    def gain(self, one: Answered, other: Answered, truth: str | None) -> int:
        """Count a file; return 1 where it got right, -1 where it got wrong."""
        if truth is None:
            return 0
        wanted = self._classes_called(truth)
        if wanted == (None, None):
            self.counts["left_out"] += 1
            self.strange = self.strange or truth
            return 0
        right_a, right_b = one.class_index == wanted[0], other.class_index == wanted[1]
        label = self._labels[0][wanted[0]] if wanted[0] is not None else self._labels[1][wanted[1] or 0]
        found = Counter(
            images=1,
            right_a=int(right_a),
            right_b=int(right_b),
            better=int(right_b and not right_a),
            worse=int(right_a and not right_b),
        )
        self.counts += found
        self._classes.setdefault(label, Counter()).update(found)
        self.counts.update(unknown_a=int(wanted[0] is None), unknown_b=int(wanted[1] is None))
        return found["better"] - found["worse"]

    def against(self) -> AgainstTruths:
        ordered = sorted(
            self._classes.items(), key=lambda each: (-each[1]["better"] - each[1]["worse"], each[0])
        )
        names = ("images", "right_a", "right_b", "better", "worse")
        more = ("unknown_a", "unknown_b", "left_out")
        return AgainstTruths(
            by=self._truths.name,
            **{name: self.counts[name] for name in (*names, *more)},
            strange=self.strange,
            unused=self._truths.unused,
            classes=[
                ClassChange(label, *(found[name] for name in names))
                for label, found in ordered[:MOST_CLASSES]
            ],
        )

    def _called(self, truth: str) -> tuple[int | None, int | None]:
        one, other = (
            class_named(truth, numbers, len(labels))
            for numbers, labels in zip(self._numbers, self._labels, strict=True)
        )
        return one, other


class _Counting:
    def __init__(self, a: FinishedJob, b: FinishedJob, truths: Truths | None, changes: ChangedPairs) -> None:
        self._a, self._b, self._truths, self._changes = a, b, truths, changes
        self._judge = truths and _Judge(a.job.model, b.job.model, truths)
        self._has_groups = bool(a.job.groups and b.job.groups)
        self._by_number = a.job.model.labels == b.job.model.labels
        self.counts = Counter[str]()
        self._all, self._agreed, self._changed = _Means(), _Means(), _Means()
        self._shifts = [0] * STEPS

    def add(self, one: Answered | None, other: Answered | None) -> None:
        if one is None or other is None:
            self.counts["only_b" if one is None else "only_a"] += 1
            return
        self.counts["both"] += 1
        truth = self._truths.of((one.file, other.file)) if self._truths else None
        if one.confidence is None or other.confidence is None:
            failed = "failed_both" if one.confidence == other.confidence else "failed_a"
            self.counts["failed_b" if one.confidence is not None else failed] += 1
            return
        gain = self._judge.gain(one, other, truth) if self._judge else 0
        self._shifts[round((other.confidence - one.confidence + 1) * (STEPS - 1) / 2)] += 1
        self._all.add(one.confidence, other.confidence)
        if self._is_same(one, other):
            self._agreed.add(one.confidence, other.confidence)
            return
        self.counts["of_a_group"] += one.group is not None and one.group == other.group
        self._changed.add(one.confidence, other.confidence)
        labels = _shown(one, other)
        self._changes.add(
            ChangedAnswer(*labels, one.file.path, one.confidence, other.confidence, truth, gain)
        )

    def comparison(self) -> Comparison:
        return Comparison(
            a=self._side(self._a, "a"),
            b=self._side(self._b, "b"),
            both=self.counts["both"],
            failed_both=self.counts["failed_both"],
            compared=self._all.images,
            agreed=self._agreed.images,
            agreed_by_group=self._agreed.images + self.counts["of_a_group"] if self._has_groups else None,
            confidence=self._all.found(),
            confidence_agreed=self._agreed.found(),
            confidence_changed=self._changed.found(),
            shifts=self._shifts,
            pairs=self._changes.kinds,
            changed=self._changes.most(MOST_PAIRS, examples=EXAMPLES),
            truths=self._judge.against() if self._judge else None,
            not_compared=tuple(
                name for name in ("present", "heads") if name in self._a.job.further + self._b.job.further
            ),
        )

    def _is_same(self, one: Answered, other: Answered) -> bool:
        if self._by_number:
            return one.class_index == other.class_index
        return plain(one.label or "") == plain(other.label or "")

    def _side(self, job: FinishedJob, name: str) -> Side:
        model = job.job.model
        return Side(
            job.storage.place,
            job.job.sources,
            model.name,
            model.format,
            model.quantization,
            job.job.tta,
            model.digest,
            job.job.updated,
            job.job.total,
            self.counts[f"only_{name}"],
            self.counts[f"failed_{name}"],
        )


def _shown(one: Answered, other: Answered) -> tuple[str, str]:
    """Two classes may have the same label; their numbers tell them apart."""
    if one.label == other.label:
        return f"{one.label} ({one.class_index})", f"{other.label} ({other.class_index})"
    return one.label or "", other.label or ""
