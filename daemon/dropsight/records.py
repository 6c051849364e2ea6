"""The words that all rooms speak: what an image was found to show, or why it could not be said."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args, get_origin

import msgspec

from dropsight.errors import ErrorCode
from dropsight.names import as_json

SCHEMA = "dropsight/1"
FIRST_SECOND = datetime.min.replace(tzinfo=UTC).timestamp()
LAST_SECOND = float(int(datetime.max.replace(tzinfo=UTC).timestamp()) - 1)
_NUMBER_AT_THE_END = re.compile(rb"[-+.0-9eE]+}}")


class Prediction(msgspec.Struct, frozen=True, gc=False):
    class_index: int = msgspec.field(name="class")
    label: str
    confidence: float


Present = list[Prediction] | msgspec.UnsetType
"""The classes that are there, the surest first, of a model by which several may be; else unset."""


def shown(best: str, present: Present) -> list[str]:
    """Return the labels of what is there: of classes that exclude each other, the best one's."""
    return [best] if isinstance(present, msgspec.UnsetType) else [each.label for each in present]


def in_words(best: str, present: Present) -> str:
    return ", ".join(shown(best, present)) or "nothing"


UNKNOWN = "unknown"
"""The label of an answer that is too flat to be one; its class is NO_CLASS."""
NO_CLASS = -1

Group = str | msgspec.UnsetType
"""Of the groups of classes that whose confidences add up to most, where it is as sure as the best class."""
Share = float | msgspec.UnsetType
Groups = dict[str, float] | msgspec.UnsetType
"""By name, what the confidences of each group's classes add up to, the surest first; unset without groups.

Those below LEAST_OF_GROUP are left out.
"""
LEAST_OF_GROUP = 0.01


class Readable(Protocol):
    """What people read of an answer, be it a record's, a result's or a region's."""

    @property
    def label(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def group(self) -> Group: ...
    @property
    def group_confidence(self) -> Share: ...


def shown_labels(answer: Readable) -> list[str]:
    """Return what people read, each by itself, of classes that may be there at once."""
    return [answer.group] if answer.group else shown(answer.label, getattr(answer, "present", msgspec.UNSET))


def shown_label(answer: Readable) -> str:
    """Return what people read: the group where there is one, else the label, or all that are there."""
    return ", ".join(shown_labels(answer)) or "nothing"


def shown_confidence(answer: Readable) -> float:
    """Return how sure that is."""
    return answer.group_confidence or answer.confidence


class HeadAnswer(msgspec.Struct, frozen=True, gc=False):
    """What one of a model's several heads says."""

    predicted_class: int
    label: str
    confidence: float
    predictions: list[Prediction]
    multi_label: bool | msgspec.UnsetType = msgspec.UNSET
    present: Present = msgspec.UNSET

    @classmethod
    def of(cls, predictions: Sequence[Prediction], present: Present = msgspec.UNSET) -> "HeadAnswer":
        best, several = predictions[0], present is not msgspec.UNSET
        return cls(
            best.class_index,
            best.label,
            best.confidence,
            list(predictions),
            multi_label=several or msgspec.UNSET,
            present=present,
        )


Heads = dict[str, HeadAnswer] | msgspec.UnsetType
"""By name, the main answer first; unset for a model that has but one answer."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of the upright picture."""


class Region(msgspec.Struct, frozen=True, gc=False):
    """What one of the parts shows that a camera's config cuts out of its pictures."""

    name: str
    box: Box
    predicted_class: int
    label: str
    confidence: float
    predictions: list[Prediction]
    present: Present = msgspec.UNSET
    heads: Heads = msgspec.UNSET
    group: Group = msgspec.UNSET
    group_confidence: Share = msgspec.UNSET
    groups: Groups = msgspec.UNSET
    would_be: str | msgspec.UnsetType = msgspec.UNSET
    prediction_set: list[str] | msgspec.UnsetType = msgspec.UNSET


Regions = list[Region] | msgspec.UnsetType
"""In the order of the config; unset where a picture is seen as one."""

Tag = str | int | float | bool
Tags = dict[str, Tag] | msgspec.UnsetType
"""What is said of a file beside its content: by its name, or in a file beside it."""

Depth = Literal["scale", "percentile"]

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


class Normalization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """(pixel - mean) / std on 0..255 pixels; one value for all channels, or one a channel in its order."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


Layout = Literal["NHWC", "NCHW"]
"""Of a model's input: images, height, width, channels, or channels before height and width."""

ColorOrder = Literal["RGB", "BGR"]
"""Of a model's three channels."""

Resize = Literal["crop", "stretch", "letterbox", "cover"]
"""How a picture of any shape becomes one of the model's; cover is several, see `images.framing.squares`."""

SampleBy = Literal["auto", "keyframes", "every"]
"""How frames of a clip are chosen; auto takes keyframes where they are close enough."""

Aggregate = Literal["mean", "max", "vote", "top_k_mean", "ema"]
"""How answers of a clip's frames become one; see `dropsight.inference.aggregating.aggregate`."""

Kind = Literal["image", "clip", "burst"]
"""What a record is of: a burst's is of photos that have records of their own, and of no file."""


class Framing(msgspec.Struct, frozen=True):
    """How a picture becomes one of a model's size; `central` is the share of its sides that a crop keeps."""

    resize: Resize = "crop"
    central: float = 0.875


USUAL_FRAMING = Framing()


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


_KINDS: dict[object, type[Record]] = {"ok": Result, "failed": Failure, "expired": Expired}
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
S = TypeVar("S", bound=msgspec.Struct)


def status_of(record: Record) -> Status:
    match record:
        case Result():
            return "burst" if burst_in(record) else "ok"
        case Failure():
            return "failed"
        case Expired():
            return "expired"


def burst_in(record: Record) -> BurstFacts | None:
    """Return the facts of a burst, None where it is no burst's record."""
    return (record.burst or None) if isinstance(record, Result) else None


def encode(record: Record) -> bytes:
    try:
        return _encoder.encode(record)
    except UnicodeEncodeError:  # a name in it that is not UTF-8
        return as_json(record)


def decode(line: bytes) -> Record:
    """Read a record whoever wrote it, older and newer dropsights among them.

    What is missing, or is not what we know by that name, stands empty; what we do not know is left out.
    """
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = _members(line)
        return _as_far_as_known(_KINDS.get(found.get("status"), Failure), found)


class Glance(Generic[S]):
    """Reads a few keys of many records, with the same patience."""

    def __init__(self, kind: type[S]) -> None:
        self._kind, self._decoder = kind, msgspec.json.Decoder(kind)

    def at(self, line: bytes) -> S:
        try:
            return self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _as_far_as_known(self._kind, _members(line))


def _members(line: bytes) -> dict[str, object]:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _as_far_as_known(kind: type[S], found: Mapping[str, object]) -> S:
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        value = found.get(field.encode_name)
        try:
            values[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            if field.required:
                values[field.name] = _empty(field.type, value)
    return kind(**values)


def _empty(kind: Any, value: object) -> object:  # noqa: ANN401 - a type, or one of typing's forms
    origin = get_origin(kind)
    if origin is Literal:
        return get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _as_far_as_known(kind, value if isinstance(value, dict) else {})
    return (origin or kind)()


def timestamp(seconds: float) -> str:
    """Write seconds since the epoch as ISO 8601 in UTC, with microseconds; years end at 1 and 9999."""
    return (
        datetime.fromtimestamp(min(max(seconds, FIRST_SECOND), LAST_SECOND), UTC).isoformat(
            timespec="microseconds"
        )[:-6]
        + "Z"
    )


def captured_at(record: Result) -> float:
    """When a photo was captured, in seconds since 1970; 0 where its record says no time that can be read."""
    for said in (record.image.captured, record.time):
        if (at := seconds_at(said)) is not None:
            return at
    return 0.0


def seconds_at(said: str) -> float | None:
    """Read ISO 8601 as seconds since 1970; None where it is none."""
    try:
        return datetime.fromisoformat(said).timestamp()
    except (ValueError, OverflowError):
        return None


def burst_id(photos: Iterable[str]) -> str:
    """The same photos, by the ids of their records, are the same burst after any crash."""
    return blake2b("\0".join(("burst", *sorted(photos))).encode(), digest_size=16).hexdigest()


def with_total(line: bytes, total_ms: float) -> bytes:
    """The encoded record with its latency total replaced.

    The total ends when the record is durable, so it is known only after the record was written;
    it is the last value of an encoded record, which makes replacing it a cut and a paste.
    """
    head, _, tail = line.rpartition(b'"total":')
    if not _NUMBER_AT_THE_END.fullmatch(tail):
        return line  # another dropsight's, with something else at its end
    return b'%b"total":%.3f}}' % (head, total_ms)


def drop_id(device: str, relative_path: bytes, size: int, mtime_ns: int, *, repeat: int = 0) -> str:
    """The same drop has the same id after any crash; `repeat` counts earlier, finished drops just like it."""
    key = b"\0".join((device.encode(), relative_path, b"%d" % size, b"%d" % mtime_ns, b"%d" % repeat))
    return blake2b(key, digest_size=16).hexdigest()
