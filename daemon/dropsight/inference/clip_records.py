"""What is written of a clip: an image's record, with what it showed when."""

import msgspec

from dropsight.inference import image_records
from dropsight.inference.aggregating import longest
from dropsight.inference.clips import ClipAnswer
from dropsight.inference.image_records import Drop
from dropsight.inference.planning import Plan
from dropsight.records import ImageFacts, Result, encode, timestamp

MOST_BYTES = 8_000


def result(
    drop: Drop, answer: ClipAnswer, plan: Plan, *, at: float, explanation: str | None = None
) -> Result:
    """Make the record of a clip that was answered `at`, in seconds since the epoch.

    It stays below its bound: short segments, every second row of the timeline, and in the end all but the
    best answer of each region, are left out.
    """
    clip = answer.clip
    captured = drop.tagged.captured or timestamp(drop.stat.st_mtime)
    facts = ImageFacts(clip.width, clip.height, drop.stat.st_size, clip.codec, captured)
    spent = msgspec.structs.replace(answer.latency, wait=round(drop.wait_ms, 3))
    made = image_records.answered(drop, facts, answer, plan, views=answer.views, at=at, spent=spent)
    made = msgspec.structs.replace(
        made,
        clip=clip,
        warnings=[*answer.warnings, *drop.tagged.warnings] or msgspec.UNSET,
        explanation=explanation or msgspec.UNSET,
    )
    while len(encode(made)) > MOST_BYTES and max(len(clip.segments), len(clip.timeline)) > 1:
        if len(clip.segments) > max(len(clip.timeline) // 4, 1):
            half = longest(clip.segments, max(len(clip.segments) // 2, 1))
            clip = msgspec.structs.replace(clip, segments=half)
        else:
            clip = msgspec.structs.replace(clip, timeline=clip.timeline[::2])
        made = msgspec.structs.replace(made, clip=clip)
    if made.regions and len(encode(made)) > MOST_BYTES:
        best = [msgspec.structs.replace(each, predictions=each.predictions[:1]) for each in made.regions]
        made = msgspec.structs.replace(made, regions=best)
    return made
