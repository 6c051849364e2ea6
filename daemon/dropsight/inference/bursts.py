"""Bursts: which photos of a camera belong together, and what they show together."""

import math
import sys
import time
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import chain, takewhile
from operator import attrgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.inference.aggregating import aggregate, segments
from dropsight.inference.ranking import predictions
from dropsight.inference.wording import Wording, groups_in_words
from dropsight.records import (
    NO_CLASS,
    UNKNOWN,
    Aggregate,
    BurstFacts,
    BurstPeak,
    HeadAnswer,
    Heads,
    Latency,
    Prediction,
    Present,
    Result,
    burst_id,
    timestamp,
)

# A camera that never rests: what goes on beyond these begins another burst.
MOST_PHOTOS, MOST_SECONDS = 64, 600.0
# So much longer a burst is waited for while photos that came before its end are yet to be classified.
PATIENCE_SECONDS = 60.0


class Photo(msgspec.Struct, frozen=True):
    """A photo on record, by the place of its record; `at` is when it was captured, in seconds since 1970."""

    seq: int
    at: float
    record: Result


class Burst(msgspec.Struct, eq=False):
    """`touched` is when the last of its photos came to be known, in monotonic seconds."""

    within: float
    touched: float
    photos: list[Photo] = msgspec.field(default_factory=list)
    first: int = sys.maxsize
    """The place of the first of them in the journal."""
    begins: float = math.inf
    ends: float = -math.inf

    @property
    def is_full(self) -> bool:
        return len(self.photos) >= MOST_PHOTOS

    def distance(self, at: float) -> float:
        """Return the seconds that this time is before the burst or after it."""
        return max(self.begins - at, at - self.ends, 0.0)

    def takes(self, *, begins: float, ends: float, photos: int) -> bool:
        """Whether there is room for so many photos of this time."""
        seconds = max(self.ends, ends) - min(self.begins, begins)
        return len(self.photos) + photos <= MOST_PHOTOS and seconds <= MOST_SECONDS

    def add(self, photos: Sequence[Photo]) -> None:
        self.photos.extend(photos)
        self.first = min(self.first, *(photo.seq for photo in photos))
        self.begins = min(self.begins, *(photo.at for photo in photos))
        self.ends = max(self.ends, *(photo.at for photo in photos))


class Grouping:
    """Bursts that may go on, of any number of lines: cameras, for one. For one thread.

    Two photos belong together that were captured no more than `within` seconds apart, and with them all that
    belong to either; in what order they come to be known does not matter. A burst is over once nothing more
    of it can be on its way.
    """

    def __init__(self) -> None:
        self._open: defaultdict[Hashable, list[Burst]] = defaultdict(list)
        """In the order of time: but for full ones beside others, there is a gap between any two."""

    def add(self, line: Hashable, photo: Photo, *, within: float, now: float) -> None:
        bursts = self._open[line]
        place = bisect(bursts, photo.at + within, key=_begins)
        near = list(takewhile(lambda each: each.ends >= photo.at - within, reversed(bursts[:place])))
        near = [each for each in near if each.takes(begins=photo.at, ends=photo.at, photos=1)]
        near.sort(key=lambda each: each.distance(photo.at))
        home, others = (near[0], near[1:]) if near else (Burst(within, now), [])
        if not near:
            bursts.insert(place, home)
        home.add([photo])
        home.touched = now
        for other in others:  # this photo is what was missing between them
            if home.takes(begins=other.begins, ends=other.ends, photos=len(other.photos)):
                home.add(other.photos)
                bursts.remove(other)

    def take_over(self, now: float, waiting_since: float = math.inf) -> list[Burst]:
        """Take those that are over, `waiting_since` then other photos have been waiting."""
        return self._take(lambda burst: _is_over(burst, now, waiting_since))

    def take_all(self) -> list[Burst]:
        return self._take(lambda _: True)

    def next_over(self) -> float:
        """When the next may be over, in monotonic seconds."""
        return min(map(_due, self._bursts()), default=math.inf)

    def earliest(self) -> int | None:
        """Return the place of the first photo in a burst that may go on."""
        return min((burst.first for burst in self._bursts()), default=None)

    def _take(self, is_wanted: Callable[[Burst], bool]) -> list[Burst]:
        taken: list[Burst] = []
        for line, bursts in list(self._open.items()):
            left: list[Burst] = []
            for burst in bursts:
                (taken if is_wanted(burst) else left).append(burst)
            self._open[line] = left
            if not left:
                del self._open[line]
        return taken

    def _bursts(self) -> Iterator[Burst]:
        return chain.from_iterable(self._open.values())


_begins = attrgetter("begins")


def _due(burst: Burst) -> float:
    return -math.inf if burst.is_full else burst.touched + burst.within


def _is_over(burst: Burst, now: float, waiting_since: float) -> bool:
    due = _due(burst)
    return now >= due and (waiting_since > due or now >= due + PATIENCE_SECONDS)


def result_of(burst: Burst, *, how: Aggregate, top_k_photos: int, at: float) -> Result:
    """Make the record of a burst, `at` seconds since 1970.

    By what the records of its photos name, `inference.top_k` classes each: another has no confidence in that
    photo. So the answer is the same whenever it is made, also after a crash.
    """
    started = time.perf_counter()
    photos = sorted(burst.photos, key=lambda photo: (photo.at, photo.record.id))
    times = np.array([photo.at - burst.begins for photo in photos])
    records = [photo.record for photo in photos]

    def merged(parts: Sequence[Sequence[Prediction]]) -> list[Prediction]:
        return _merged(times, parts, how, top_k_photos)

    likely = merged([record.predictions for record in records])
    best = likely[0]
    sure = [_confidence(record, best.class_index) for record in records]
    peak = int(np.argmax(sure))
    facts = _facts(burst, times, records, how=how, peak=peak, best=best, confidence=sure[peak])
    wording = _wording(times, records, best, how, top_k_photos)
    return msgspec.structs.replace(
        records[peak],
        kind="burst",
        id=burst_id(facts.photos),
        time=timestamp(at),
        **msgspec.structs.asdict(wording),
        confidence=best.confidence,
        top_5_predictions={str(each.class_index): each.confidence for each in likely[:5]},
        predictions=likely,
        present=_present([record.present for record in records]),
        heads=_heads(records, merged),
        tta_stepped_aside=msgspec.UNSET,
        warnings=msgspec.UNSET,
        explanation=msgspec.UNSET,
        burst=facts,
        latency_ms=Latency(postprocess=round((time.perf_counter() - started) * 1e3, 3)),
    )


def _facts(
    burst: Burst,
    times: NDArray[np.float64],
    records: Sequence[Result],
    *,
    how: Aggregate,
    peak: int,
    best: Prediction,
    confidence: float,
) -> BurstFacts:
    """Put together what is said of the photos, of which number `peak` is surest of the best class."""
    first = records[peak]
    timeline = [
        (round(float(seconds), 3), record.predicted_class, round(record.confidence, 4))
        for seconds, record in zip(times, records, strict=True)
    ]
    labels = {record.predicted_class: record.label for record in records}
    return BurstFacts(
        count=len(records),
        begin=timestamp(burst.begins),
        end=timestamp(burst.ends),
        aggregate=how,
        peak=BurstPeak(first.id, first.image_path, timeline[peak][0], best.label, confidence),
        segments=segments(timeline, timeline[-1][0], labels),
        photos=[record.id for record in records],
        timeline=timeline,
    )


def _merged(
    times: NDArray[np.float64], parts: Sequence[Sequence[Prediction]], how: Aggregate, top_k_frames: int
) -> list[Prediction]:
    labels = {each.class_index: each.label for likely in parts for each in likely}
    classes = sorted(labels)
    rows = np.zeros((len(parts), len(classes)), np.float32)
    for row, likely in zip(rows, parts, strict=True):
        row[np.searchsorted(classes, [each.class_index for each in likely])] = [
            each.confidence for each in likely
        ]
    found = aggregate(times, rows, how, top_k_frames=top_k_frames)
    ranked = predictions(found, [labels[each] for each in classes], max(map(len, parts)))
    return [msgspec.structs.replace(each, class_index=classes[each.class_index]) for each in ranked]


def _wording(
    times: NDArray[np.float64], records: Sequence[Result], best: Prediction, how: Aggregate, top_k_frames: int
) -> Wording:
    """Name a burst by what its photos are called: unknown where all of them are, else by their groups.

    Which group the best class is in, one of the photos has told whose best it is, too.
    """
    if all(record.would_be for record in records):
        return Wording(NO_CLASS, UNKNOWN, would_be=best.label)
    named = [record.groups or {} for record in records]
    names = sorted({name for each in named for name in each})
    if not names:
        return Wording(best.class_index, best.label)
    rows = np.array([[each.get(name, 0.0) for name in names] for each in named], np.float32)
    sums = aggregate(times, rows, how, top_k_frames=top_k_frames)
    groups = groups_in_words(zip(names, sums.tolist(), strict=True))
    first = next(iter(groups), "")
    if not any(each.group == first and each.predicted_class == best.class_index for each in records):
        return Wording(best.class_index, best.label, groups=groups)
    return Wording(best.class_index, best.label, first, groups[first], groups)


def _heads(
    records: Sequence[Result], merged: Callable[[Sequence[Sequence[Prediction]]], list[Prediction]]
) -> Heads:
    heads = [{} if record.heads is msgspec.UNSET else record.heads for record in records]
    common = [name for name in heads[0] if all(name in each for each in heads)]
    return {
        name: HeadAnswer.of(
            merged([each[name].predictions for each in heads]),
            _present([each[name].present for each in heads]),
        )
        for name in common
    } or msgspec.UNSET


def _present(parts: Sequence[Present]) -> Present:
    """Return what any of the photos shows, each class as surely as the surest of them does."""
    found: dict[int, Prediction] = {}
    for part in parts:
        if part is msgspec.UNSET:
            return part
        for each in part:
            found[each.class_index] = max(found.get(each.class_index, each), each, key=_sureness)
    return sorted(found.values(), key=_sureness, reverse=True)


def _sureness(prediction: Prediction) -> float:
    return prediction.confidence


def _confidence(record: Result, class_index: int) -> float:
    return next((each.confidence for each in record.predictions if each.class_index == class_index), 0.0)
