"""A row of a part: what is written of one image or clip, in an explicit schema."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow as pa

from dropsight.models.features import Features
from dropsight.models.spec import ModelSpec
from dropsight.records import Prediction


class ClipColumns(msgspec.Struct, frozen=True):
    """Of a clip alone; times in seconds, that of the peak from the first frame."""

    duration: float
    fps: float
    codec: str
    frames_read: int
    frames_classified: int
    peak_time: float


class HeadColumns(msgspec.Struct, frozen=True):
    """What one of a model's heads says; `present` of one whose classes may be there at once."""

    name: str
    predicted_class: int
    label: str
    confidence: float
    predictions: list[Prediction]
    present: list[Prediction] | None = None


class ArchiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """`path` as in the manifest; `captured` by the camera, else the file's time; `clip` for clips only.

    `group` and `group_confidence` are in the parts of a job whose model has groups; `present`, `heads` and
    `prediction_set` in those of one whose model gives them, as its records have them. An answer that is too
    flat to be one is the class -1, "unknown"; what it would have been are `top_classes`. `embedding`, in
    float16, is in the part of a job that wants it, not in rows that are read again.
    """

    path: str
    status: str
    predicted_class: int | None = None
    label: str | None = None
    confidence: float | None = None
    top_classes: list[int] | None = None
    top_confidences: list[float] | None = None
    width: int | None = None
    height: int | None = None
    captured: datetime | None = None
    error_code: str | None = None
    error: str | None = None
    sha256: str | None = None
    model_digest: str
    latency_ms: float | None = None
    clip: ClipColumns | None = None
    group: str | None = None
    group_confidence: float | None = None
    present: list[Prediction] | None = None
    heads: list[HeadColumns] | None = None
    prediction_set: list[str] | None = None
    embedding: bytes | None = None


SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("predicted_class", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("confidence", pa.float32()),
        pa.field("top_classes", pa.list_(pa.int32())),
        pa.field("top_confidences", pa.list_(pa.float32())),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("captured", pa.timestamp("us", "UTC")),
        pa.field("error_code", pa.string()),
        pa.field("error", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("model_digest", pa.string(), nullable=False),
        pa.field("latency_ms", pa.float32()),
        pa.field(
            "clip",
            pa.struct(
                [
                    pa.field("duration", pa.float32()),
                    pa.field("fps", pa.float32()),
                    pa.field("codec", pa.string()),
                    pa.field("frames_read", pa.int32()),
                    pa.field("frames_classified", pa.int32()),
                    pa.field("peak_time", pa.float32()),
                ]
            ),
        ),
    ]
)
"""Explicit: of a column that is empty throughout, Arrow would guess a type of no values."""
GROUPS = (pa.field("group", pa.string()), pa.field("group_confidence", pa.float32()))
"""Behind these, of a model that has groups."""
_CLASSES = pa.list_(
    pa.struct(
        [pa.field("class", pa.int32()), pa.field("label", pa.string()), pa.field("confidence", pa.float32())]
    )
)
_HEAD = pa.struct(
    [
        pa.field("name", pa.string()),
        pa.field("predicted_class", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("confidence", pa.float32()),
        pa.field("predictions", _CLASSES),
        pa.field("present", _CLASSES),
    ]
)
FURTHER = (
    pa.field("present", _CLASSES),
    pa.field("heads", pa.list_(_HEAD)),
    pa.field("prediction_set", pa.list_(pa.string())),
)
"""Behind those, each of a model that gives it."""
_NESTED = ("clip", "present", "heads")

EMBEDDING = "embedding"
_FLOAT16 = np.dtype("<f2")


def further_of(spec: ModelSpec) -> tuple[str, ...]:
    """Return which of FURTHER a model gives."""
    sets = spec.sets is not None and not spec.multi_label
    given = {"present": spec.multi_label, "heads": bool(spec.heads), "prediction_set": sets}
    return tuple(each.name for each in FURTHER if given[each.name])


def as_table(
    rows: Sequence[ArchiveRow], *, groups: bool = False, further: Sequence[str] = (), features: int = 0
) -> pa.Table:
    """Make the columns; with `features`, also the last one, of embeddings of this length."""
    more = [each for each in FURTHER if each.name in further]
    schema = pa.schema([*SCHEMA, *(GROUPS if groups else ()), *more])
    columns = {name: [getattr(row, name) for row in rows] for name in schema.names}
    for name in columns.keys() & _NESTED:
        columns[name] = msgspec.to_builtins(columns[name])
    table = pa.table(columns, schema)
    if not features:
        return table
    none = bytes(features * _FLOAT16.itemsize)
    values = np.frombuffer(b"".join(row.embedding or none for row in rows), _FLOAT16)
    without = pa.array([row.embedding is None for row in rows])
    made = pa.FixedSizeListArray.from_arrays(pa.array(values), features, mask=without)
    return table.append_column(pa.field(EMBEDDING, made.type), made)


def packed(features: Features) -> bytes:
    """Return an embedding as a row has it: what float16 cannot hold is the most that it can."""
    most = np.finfo(_FLOAT16).max
    return np.clip(features, -most, most).astype(_FLOAT16).tobytes()


def rows_of(table: pa.Table) -> list[ArchiveRow]:
    return msgspec.convert(table.to_pylist(), list[ArchiveRow])


def time_of(text: str) -> datetime:
    """Read what a header or a record says, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)
