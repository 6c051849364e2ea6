"""What one record says to rules."""

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from dropsight.names import as_text
from dropsight.records import ClipFacts, Result, captured_at, seconds_at

Tag = str | int | float | bool
_NO_TAGS: Mapping[str, Tag] = {}


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A label that an answer names; `times` in so many pictures, of which a clip has several."""

    label: str
    confidence: float
    region: str | None = None
    times: int = 1


class Sighting(msgspec.Struct, frozen=True):
    """`at` is when it was captured, `heard` when it was answered, both in seconds since 1970.

    Without answers, it was looked at, and nothing can be said of it.
    """

    seq: int | None
    id: str
    at: float
    heard: float
    camera: str
    answers: tuple[Claim, ...]
    tags: Mapping[str, Tag] = _NO_TAGS


def sighting_of(record: Result, seq: int | None = None) -> Sighting | None:
    """Return what a record says; None for a burst, whose photos have records of their own."""
    if record.burst:
        return None
    at = captured_at(record)
    if record.clip:  # captured is when it ended; it counts from when it showed its best class most surely
        at += record.clip.peak.time - record.clip.duration
    heard = seconds_at(record.time)
    return Sighting(
        seq, record.id, at, at if heard is None else heard, as_text(record.camera), tuple(_claims(record))
    )


def _claims(record: Result) -> Iterator[Claim]:
    if record.predicted_class < 0:  # unknown, whatever else it names
        return
    if record.clip:
        yield from _of_clip(record, record.clip)
    else:
        for each in record.predictions:
            yield Claim(each.label, each.confidence)
    if record.heads:
        for name, head in list(record.heads.items())[1:]:
            for each in head.predictions:
                yield Claim(f"{name}:{each.label}", each.confidence)


def _of_clip(record: Result, clip: ClipFacts) -> Iterator[Claim]:
    """A class is as sure as its surest frame, and seen in all frames where it is best and half as sure."""
    peaks = {each.label: each.confidence for each in record.predictions}
    for segment in clip.segments:
        peaks[segment.label] = max(segment.peak, peaks.get(segment.label, 0.0))
    labels = {each.class_index: each.label for each in record.predictions}
    frames = Counter(
        label
        for _, number, confidence in clip.timeline
        if (label := labels.get(number)) and confidence >= peaks[label] / 2
    )
    for label, confidence in peaks.items():
        yield Claim(label, confidence, None, max(frames[label], 1))


class Match(msgspec.Struct, frozen=True, gc=False):
    """What of a sighting a rule takes; `sure` enough to begin an event, else enough to go on with one."""

    sure: bool
    claim: Claim
