"""A record: what became of one file, or of a burst of photos; its JSON is the public schema."""

from typing import Literal

import msgspec

from dropsight.errors import ErrorCode
from dropsight.records.answers import Group, Groups, Heads, Prediction, Present, Regions, Share, shown
from dropsight.records.choices import Depth

SCHEMA = "dropsight/1"

Tag = str | int | float | bool
Tags = dict[str, Tag] | msgspec.UnsetType
"""What is said of a file beside its content: by its name, or in a file beside it."""

Kind = Literal["image", "clip", "burst"]
"""What a record is of: a burst's is of photos that have records of their own, and of no file."""

EventPhase = Literal["start", "update", "end"]


class EventMark(msgspec.Struct, frozen=True, gc=False):
    """What this record had an event do."""

    id: str
    name: str
    phase: EventPhase


class ImageFacts(msgspec.Struct, frozen=True, gc=False):
    """`captured` is the camera's own time (EXIF) where it wrote one, else the file's mtime; ISO 8601, UTC.

    `depth` says how 16 bits a channel were made 8.
    """

    width: int
    height: int
    bytes: int
    format: str
    captured: str
    depth: Depth | msgspec.UnsetType = msgspec.UNSET


class ModelFacts(msgspec.Struct, frozen=True, gc=False):
    name: str
    format: str
    quantization: str
    digest: str


class ErrorFacts(msgspec.Struct, frozen=True, gc=False):
    code: ErrorCode
    message: str


class Peak(msgspec.Struct, frozen=True, gc=False):
    """The frame that shows a clip's best class most surely; `time` in seconds from its first frame."""

    time: float
    frame: int
    label: str
    confidence: float


class Segment(msgspec.Struct, frozen=True, gc=False):
    """A stretch of a clip, in seconds, over which one class was the best; `peak` is its surest answer."""

    label: str
    begins: float = msgspec.field(name="from")
    ends: float = msgspec.field(name="to")
    peak: float


class ClipFacts(msgspec.Struct, frozen=True, gc=False):
    """`timeline` has a row for each frame that was looked at: seconds, best class, its confidence.

    `frames_classified` were invoked; the others of the timeline hardly differed from the one before them.
    `segments` are the longest, in the order of time. `timed`: whether the file has timestamps.
    """

    duration: float
    fps: float
    codec: str
    width: int
    height: int
    frames_read: int
    frames_classified: int
    sampling: str
    aggregate: str
    timed: bool
    peak: Peak
    segments: list[Segment]
    timeline: list[tuple[float, int, float]]


class BurstPeak(msgspec.Struct, frozen=True, gc=False):
    """The photo that shows a burst's best class most surely; `time` in seconds from its first photo."""

    id: str
    image_path: str
    time: float
    label: str
    confidence: float


class BurstFacts(msgspec.Struct, frozen=True, gc=False):
    """Photos of one camera that followed one another closely, in the order of their capture.

    `photos` are the ids of their records; `begin` and `end` when the first and the last were captured, ISO
    8601, UTC. `timeline` has a row for each: seconds from the first, best class, its confidence.
    """

    count: int
    begin: str
    end: str
    aggregate: str
    peak: BurstPeak
    segments: list[Segment]
    photos: list[str]
    timeline: list[tuple[float, int, float]]

    @property
    def name(self) -> str:
        return f"burst of {self.count} photos"


class Latency(msgspec.Struct, frozen=True, gc=False):
    """Milliseconds per stage.

    `wait` runs from the file's being ready, `total` from then until the record is durable.
    """

    wait: float = 0.0
    decode: float = 0.0
    preprocess: float = 0.0
    inference: float = 0.0
    postprocess: float = 0.0
    total: float = 0.0


class Result(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="ok"):
    schema: str = SCHEMA
    id: str
    time: str
    device: str
    camera: str
    image_path: str
    tags: Tags = msgspec.UNSET
    kind: Kind = "image"
    predicted_class: int
    label: str
    confidence: float
    top_5_predictions: dict[str, float]
    predictions: list[Prediction]
    multi_label: bool | msgspec.UnsetType = msgspec.UNSET
    present: Present = msgspec.UNSET
    heads: Heads = msgspec.UNSET
    group: Group = msgspec.UNSET
    group_confidence: Share = msgspec.UNSET
    groups: Groups = msgspec.UNSET
    would_be: str | msgspec.UnsetType = msgspec.UNSET
    """The label that it would have been, where it is too flat an answer: `label` is then UNKNOWN."""
    prediction_set: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Labels that hold the right one with the probability that the model was calibrated to."""
    region: str | msgspec.UnsetType = msgspec.UNSET
    """The name of the one that the other keys are the answer of: the surest."""
    regions: Regions = msgspec.UNSET
    image: ImageFacts
    clip: ClipFacts | msgspec.UnsetType = msgspec.UNSET
    model: ModelFacts
    tta: int
    temperature: float
    tta_stepped_aside: bool | msgspec.UnsetType = msgspec.UNSET
    """True where too much was waiting for the views that the config asks for."""
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET
    """What is wrong with the file, where there was a picture all the same."""
    explanation: str | msgspec.UnsetType = msgspec.UNSET
    """Where the overlay lies, once there was time to make it."""
    burst: BurstFacts | msgspec.UnsetType = msgspec.UNSET
    """The other keys are then the burst's answer, and what is said of a file is said of its peak's."""
    events: list[EventMark] | msgspec.UnsetType = msgspec.UNSET
    """What began, went on or ended with this record."""
    latency_ms: Latency  # stays last: see `with_total`

    @property
    def shows(self) -> list[str]:
        """The labels of what is there."""
        return shown(self.label, self.present)


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="failed"):
    schema: str = SCHEMA
    id: str
    time: str
    device: str
    camera: str
    image_path: str
    tags: Tags = msgspec.UNSET
    kind: Kind = "image"
    error: ErrorFacts
    image: ImageFacts | None = None
    model: ModelFacts | None = None
    latency_ms: Latency


class Expired(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="expired"):
    """An image that was older than `queue.max_age` when its turn came: filed away unseen."""

    schema: str = SCHEMA
    id: str
    time: str
    device: str
    camera: str
    image_path: str
    tags: Tags = msgspec.UNSET
    kind: Kind = "image"
    age_seconds: float
    max_age_seconds: float
    latency_ms: Latency


Record = Result | Failure | Expired
Status = Literal["ok", "failed", "expired", "burst", "event"]
"""What a record is sorted by in the journal and on its way to others; of bursts, all are answers.

An event's message stands among the records, in their order; who asks for records does not get it unasked.
"""
RECORDS: tuple[Status, ...] = ("ok", "failed", "expired", "burst")


def status_of(record: Record) -> Status:
    match record:
        case Result():
            return "burst" if record.burst else "ok"
        case Failure():
            return "failed"
        case Expired():
            return "expired"


def burst_in(record: Record) -> BurstFacts | None:
    """Return the facts of a burst, None where it is no burst's record."""
    return (record.burst or None) if isinstance(record, Result) else None
