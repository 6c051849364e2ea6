"""The settings: every key, its type, its range and its default."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct, field

from dropsight.config.event_keys import EventRule, Location, ProblemEvents, Unless
from dropsight.config.receivers import Mqtt, Notify, Web, Webhook
from dropsight.records import Aggregate, ColorOrder, Depth, Layout, Normalization, Resize, SampleBy

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# `extra` names the way in which a value is read, `description` is what a fault tells the user to give.
ByteSize: TypeAlias = Annotated[
    int,
    Meta(
        gt=0,
        description="a size such as 10MiB",
        extra={"reads": "size"},
    ),
]
ModelPath: TypeAlias = Annotated[
    str, Meta(description="builtin:NAME or the path of a model", extra={"reads": "model"})
]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Threads: TypeAlias = Annotated[int, Meta(ge=1, le=64)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0)]
View: TypeAlias = Literal["original", "horizontal_flip", "vertical_flip", "rotate_90", "rotate_270"]
Auto: TypeAlias = Literal["auto"]


class Retention(Struct, frozen=True):
    """How much of processed/ and failed/ is kept; None is no bound."""

    days: Annotated[float, Meta(gt=0)] | None = 14.0
    max_bytes: ByteSize | None = 2 * GIB
    max_files: Annotated[int, Meta(ge=1)] | None = 200_000


class Watch(Struct, frozen=True):
    path: Path = Path("inbox")
    mqtt: (
        Annotated[
            str,
            Meta(
                pattern=r"^[^\x00-\x1f\x7f-\x9f]+$",
                max_length=256,
                description="a topic filter such as cameras/+/image",
            ),
        ]
        | None
    ) = None
    recursive: bool = True
    follow_links: bool = False
    patterns: Annotated[
        tuple[str, ...], Meta(min_length=1, description='a list of file patterns such as ["*.jpg"]')
    ] = (
        *("*.jpg", "*.jpeg", "*.jpe", "*.jfif", "*.mpo", "*.png", "*.webp", "*.bmp", "*.tif", "*.tiff"),
        *("*.gif", "*.jp2", "*.avif", "*.heic", "*.heif"),
    )
    ignore: Annotated[tuple[str, ...], Meta(description='a list of folder names such as ["@eaDir"]')] = (
        *("@eaDir", "#recycle", "#snapshot"),
        *("$RECYCLE.BIN", "System Volume Information", "lost+found"),
    )
    observer: Literal["auto", "inotify", "polling"] = "auto"
    after: Literal["move", "delete", "keep"] = "move"
    processed: Path = Path("processed")
    failed: Path = Path("failed")
    retention: Retention = Retention()
    settle_seconds: Annotated[float, Meta(ge=0)] = 2.0
    poll_seconds: Seconds = 1.0
    patience_seconds: Annotated[float, Meta(ge=0)] = 120.0
    silence: Annotated[float, Meta(gt=0, description="a number of seconds above 0")] | None = None
    burst_seconds: (
        Annotated[float, Meta(gt=0, le=600, description="a number of seconds above 0, at most 600")] | None
    ) = None
    name_pattern: Annotated[str, Meta(description="a regular expression with named groups")] | None = None
    sidecar_wait_seconds: Annotated[float, Meta(ge=0, le=3600)] | None = None
    camera: Annotated[str, Meta(description="a name, a pattern with a group")] | int | None = None
    cameras: Annotated[tuple[str, ...], Meta(description='a list of names such as ["front"]')] = ()


OutputName: TypeAlias = Annotated[str, Meta(description="a name")] | Annotated[int, Meta(ge=0)]


class Head(Struct, frozen=True):
    """One of several answers of a model: which output it is, and the names of its classes."""

    output: OutputName
    labels: Path | None = None


class Delegate(Struct, frozen=True):
    """A shared library that computes what it can of a TFLite model on a device of its own."""

    library: Annotated[
        str,
        Meta(
            description="the name or the path of a shared library such as libedgetpu.so.1",
            extra={"reads": "library"},
        ),
    ]
    options: dict[str, Annotated[str, Meta(description="a text")] | int] = {}


class ModelSettings(Struct, frozen=True):
    path: ModelPath = "builtin:efficientnet_lite0"
    labels: Path | None = None
    fallback: tuple[ModelPath, ...] = ()
    normalization: Normalization | None = None
    input_size: (
        Annotated[
            tuple[Annotated[int, Meta(ge=1, le=8192)], ...],
            Meta(min_length=2, max_length=2, description="[height, width] such as [224, 224]"),
        ]
        | None
    ) = None
    layout: Layout | None = None
    color_order: ColorOrder | None = None
    output: OutputName | None = None
    heads: dict[str, Head] = {}
    thresholds: dict[str, Annotated[float, Meta(ge=0, le=1)]] = {}
    resize: Resize | None = None
    central: Annotated[float, Meta(gt=0, le=1)] | None = None
    threads: Threads | Auto = "auto"
    delegate: Delegate | None = None
    accelerator: Literal["cpu", "gpu"] = "cpu"


Members: TypeAlias = (
    tuple[Annotated[str, Meta(description="a label")] | int, ...]
    | Annotated[str, Meta(description='a list of labels, or of ranges of classes such as "151-268"')]
    | int
)
"""Of a group of classes: labels, wildcards allowed, numbers, ranges of numbers, or one of them."""


class Inference(Struct, frozen=True):
    top_k: Annotated[int, Meta(ge=1, le=1000)] = 5
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    tta: tuple[View, ...] = ()
    min_confidence: Annotated[float, Meta(ge=0, le=1)] = 0.0
    unknown: (
        Literal["auto", "off"] | Annotated[float, Meta(gt=0, le=1, description="a number above 0, at most 1")]
    ) = "off"
    workers: Threads | Auto = "auto"
    decoders: Threads | Auto | None = None
    """No longer has an effect: each worker decodes for itself."""


class Limits(Struct, frozen=True):
    """Limits for an image; beyond them it is a failed one."""

    max_bytes: ByteSize = 64 * MIB
    max_pixels: Count = 100_000_000
    damaged: Literal["fail", "accept"] = "fail"


class Images(Struct, frozen=True):
    """How 16 bits a channel become 8: by their whole range, or by the one that the picture uses."""

    depth: Depth = "scale"


class Video(Struct, frozen=True):
    """Which files are clips, which frames of each are looked at, and how their answers become one."""

    patterns: Annotated[
        tuple[str, ...], Meta(min_length=1, description='a list of file patterns such as ["*.mp4"]')
    ] = (
        *(
            "*.mp4",
            "*.m4v",
            "*.mkv",
            "*.webm",
            "*.avi",
            "*.mov",
            "*.h264",
            "*.h265",
            "*.ts",
            "*.mpg",
            "*.flv",
        ),
    )
    sample: SampleBy = "auto"
    every_seconds: Seconds = 0.5
    max_frames: Annotated[int, Meta(ge=1, le=1000)] = 64
    aggregate: Aggregate = "top_k_mean"
    top_k_frames: Count = 3
    skip_still: bool = True
    max_seconds: Seconds = 14400.0


class Queue(Struct, frozen=True):
    """What happens when images come faster than they can be classified."""

    order: Literal["oldest", "newest", "fair"] = "oldest"
    max_age: Annotated[float, Meta(gt=0, description="a number of seconds above 0")] | None = None
    tta_when_behind: bool = False


Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]


class CameraSight(Struct, frozen=True):
    """Where to look in one camera's pictures: parts of them by name, and a picture of what to paint over."""

    crops: dict[
        str,
        Annotated[
            tuple[Share, Share, Share, Share],
            Meta(description="[left, top, right, bottom], each from 0 to 1, such as [0.2, 0.1, 0.6, 0.8]"),
        ],
    ] = {}
    mask: Path | None = None


class Cameras(Struct, frozen=True):
    """What counts as a problem of a camera; `frozen`: this many identical pictures in a row.

    `by_name` are the sections that stand beside these keys, each named after a camera.
    """

    learned_silence: bool = True
    black: bool = True
    frozen: Annotated[int, Meta(ge=2)] | None = 3
    blur: bool = True
    by_name: dict[str, CameraSight] = {}


class Explain(Struct, frozen=True):
    """Which predictions get an overlay beside the processed image."""

    below_confidence: Annotated[float, Meta(ge=0, le=1)] = 0.5
    every: Annotated[int, Meta(ge=0)] = 0


class Log(Struct, frozen=True):
    path: Path = Path("logs/results.jsonl")
    max_bytes: ByteSize = 10 * MIB
    backups: Annotated[int, Meta(ge=0)] = 10
    compress: bool = True


class Store(Struct, frozen=True):
    path: Path = Path("state/journal.db")
    max_records: Count = 100_000
    durable: Literal["images", "records"] = "images"


class StatsSettings(Struct, frozen=True):
    interval_seconds: Seconds = 60.0
    window_seconds: Seconds = 300.0


class Config(Struct, frozen=True):
    device: Annotated[
        str,
        Meta(
            pattern=r"\S",
            description="a name that is not empty",
            extra={"reads": "host"},
        ),
    ] = field(default_factory=socket.gethostname)
    watch: Annotated[tuple[Watch, ...], Meta(min_length=1, description="a list of folders to watch")] = (
        Watch(),
    )
    model: ModelSettings = ModelSettings()
    groups: dict[str, Members] | Literal["auto", "off"] | None = "auto"
    inference: Inference = Inference()
    limits: Limits = Limits()
    images: Images = Images()
    video: Video | None = Video()
    queue: Queue = Queue()
    cameras: Cameras = Cameras()
    location: Location | None = None
    events: Annotated[
        tuple[EventRule, ...], Meta(description="a list of rules, each with name and labels")
    ] = ()
    problem_events: ProblemEvents | None = None
    explain: Explain | None = None
    log: Log = Log()
    store: Store = Store()
    mqtt: Mqtt | None = Mqtt()
    webhooks: Annotated[tuple[Webhook, ...], Meta(description="a list, each item with a url")] = ()
    notify: dict[str, Notify] = {}
    web: Web | None = Web()
    stats: StatsSettings = StatsSettings()


# Defaults of keys that are others where another key is given.
INSTEAD: Mapping[type[Struct], Mapping[str, tuple[str, str]]] = {Watch: {"path": ("mqtt", "inbox-mqtt")}}

# Sections whose other keys are names, each with keys of its own: which field takes those.
OTHERS: Mapping[type[Struct], str] = {Cameras: "by_name"}

# Sections that stand for one of their keys where they are given a value instead of keys.
SHORT: Mapping[type[Struct], str] = {Head: "output", Delegate: "library", Unless: "event"}
