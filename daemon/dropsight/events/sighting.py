"""What one record says to rules."""

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from dropsight.names import as_text
from dropsight.records import NO_CLASS, ClipFacts, Region, Result, Tag, captured_at, seconds_at

GROUP = "group:"
"""How the label of a group of classes begins."""
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
    is_clip: bool = False


def sighting_of(record: Result, seq: int | None = None) -> Sighting | None:
    """Return what a record says; None for a burst, whose photos have records of their own."""
    if record.burst:
        return None
    at = captured_at(record)
    if record.clip:  # captured is when it ended; it counts from when it showed its best class most surely
        at += record.clip.peak.time - record.clip.duration
    heard = seconds_at(record.time)
    answers = tuple(_of_clip(record, record.clip) if record.clip else _claims(record))
    tags = record.tags or _NO_TAGS
    when = at if heard is None else heard
    return Sighting(seq, record.id, at, when, as_text(record.camera), answers, tags, bool(record.clip))


def _claims(record: Result) -> Iterator[Claim]:
    if record.regions:
        for region in record.regions:
            yield from _said(region, region.name)
    else:
        yield from _said(record, None)


def _said(answer: Result | Region, region: str | None) -> Iterator[Claim]:
    """Of an answer that is unknown, nothing: what it might be is not said."""
    if answer.predicted_class == NO_CLASS:
        return
    for each in answer.predictions:
        yield Claim(each.label, each.confidence, region)
    if answer.groups:
        for name, confidence in answer.groups.items():
            yield Claim(f"{GROUP}{name}", confidence, region)
    if answer.heads:
        for name, head in list(answer.heads.items())[1:]:
            for each in head.predictions:
                yield Claim(f"{name}:{each.label}", each.confidence, region)


def _of_clip(record: Result, clip: ClipFacts) -> Iterator[Claim]:
    """A class is as sure as its surest frame, and seen in each frame where it is the best and half as sure.

    Of groups and other heads, it is not known in which frames: in as many as the class that has the most.
    """
    claims = {(each.label, each.region): each for each in _claims(record)}
    for segment in clip.segments if claims and not record.regions else ():
        before = claims.get((segment.label, None))
        if before is None or segment.peak > before.confidence:
            claims[segment.label, None] = Claim(segment.label, segment.peak)
    numbers = {each.class_index: each.label for each in record.predictions}
    peaks = {each.label: each.peak for each in sorted(clip.segments, key=lambda each: each.peak)}
    frames = Counter(
        label
        for _, number, confidence in clip.timeline
        if (label := numbers.get(number)) and confidence >= peaks.get(label, 0.0) / 2
    )
    most = max(frames.values(), default=1)
    for each in claims.values():
        is_class = each.label in peaks or each.label in numbers.values()
        times = max(frames[each.label], 1) if is_class else most
        yield msgspec.structs.replace(each, times=times)


class Match(msgspec.Struct, frozen=True, gc=False):
    """What of a sighting a rule takes: what its label needs is `share` 1.

    An event needs a `sure` one, or several that are so on average; it goes on with those that are `kept`.
    """

    share: float
    kept: bool
    claim: Claim

    @property
    def sure(self) -> bool:
        return self.share >= 1
