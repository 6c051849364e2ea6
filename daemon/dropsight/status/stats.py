"""What the daemon has done: counts by class and camera, latencies per stage, queue depths, throughput."""

import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import astuple

from dropsight.records import Failure, Latency, Record, Result, burst_in
from dropsight.status.census import UnprocessedImages
from dropsight.status.latency import SLOTS, Distribution, LatencyHistogram, Percentiles

STAGES = Latency.__struct_fields__
# Of fewer images lately, their speed says nothing of the next.
TELLING_COUNT = 20
# Of further ones, images are counted with all others only: anybody could name one an image.
MOST_CAMERAS = 4_096
_THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Counters(msgspec.Struct, frozen=True):
    """Images since the start of the daemon; seen = done + failed + waiting + expired, at every moment."""

    seen: int
    done: int
    failed: int
    waiting: int
    expired: int
    queued: int
    postponed: int
    in_hand: int


class ClipCounts(msgspec.Struct, frozen=True):
    """Clips among them; speed and latencies are of images alone.

    Frames, and the seconds that they took to decode, by the clock, are of those done.
    """

    done: int = 0
    failed: int = 0
    waiting: int = 0
    frames_read: int = 0
    frames_classified: int = 0
    decode_seconds: float = 0.0


class Throughput(msgspec.Struct, frozen=True):
    """Images per second."""

    window: float
    since_start: float


class Latencies(msgspec.Struct, frozen=True):
    """Milliseconds per stage."""

    window: Mapping[str, Percentiles]
    since_start: Mapping[str, Percentiles]


class FollowerStats(msgspec.Struct, frozen=True):
    """How a follower of the journal is doing: records that the other side has, refuses, and is yet to get.

    `to` is its address, fit for a log; `dropped` are beyond the bound; `trouble` is why it gets none now.
    """

    to: str
    delivered: int
    set_aside: int
    waiting: int
    dropped: int
    trouble: str | None


class EventCount(msgspec.Struct, frozen=True):
    """Events of one name at one camera: those that began since the start, and those that go on."""

    name: str
    camera: str
    started: int
    going_on: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    time: str
    uptime_seconds: float
    window_seconds: float
    counters: Counters
    clips: ClipCounts = ClipCounts()
    folders: UnprocessedImages = UnprocessedImages()
    queues: Mapping[str, int]
    followers: Mapping[str, FollowerStats] = {}
    images_per_second: Throughput
    latency_ms: Latencies
    classes: Mapping[str, int]
    cameras: Mapping[str, int]
    errors: Mapping[str, int]
    bursts: int = 0
    """Beside the images that they are of, which are counted as ever."""
    events: Sequence[EventCount] = ()
    dropped: int
    paused: bool
    troubles: Mapping[str, str]
    problems: Mapping[str, Mapping[str, str]] = {}
    """Of cameras, by camera and kind."""
    temperature_celsius: float | None
    memory_bytes: int


class _Events(msgspec.Struct):
    started: int = 0
    going_on: set[str] = msgspec.field(default_factory=set)


class Stats:
    """Thread-safe. Counts what is on record; `total` of a record is told apart since it ends last."""

    def __init__(self, *, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._stages = {stage: LatencyHistogram(window_seconds / SLOTS) for stage in STAGES}
        self._rate = LatencyHistogram(window_seconds / SLOTS)
        """Of all images; in the latencies, only answers count: a refusal takes no time, and says none."""
        self._classes: Counter[str] = Counter()
        self._cameras: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._clips = ClipCounts()
        self._bursts = 0
        self._events: dict[tuple[str, str], _Events] = {}

    def add(self, records: Sequence[tuple[Record, float]]) -> None:
        """Count records, each with its total in milliseconds."""
        totals, answered = list[float](), list[tuple[float, ...]]()
        with self._lock:
            for record, total_ms in records:
                if burst_in(record):
                    self._bursts += 1
                    continue
                if record.camera in self._cameras or len(self._cameras) < MOST_CAMERAS:
                    self._cameras[record.camera] += 1
                if record.kind == "clip":
                    self._clips = _with(self._clips, record)
                else:
                    totals.append(total_ms)
                if isinstance(record, Result):
                    for label in record.shows:
                        self._classes[label] += 1
                    if record.kind != "clip":
                        answered.append((*astuple(record.latency_ms)[:-1], total_ms))
                elif isinstance(record, Failure):
                    self._errors[record.error.code] += 1
            now = time.monotonic()
            self._rate.add(totals, now=now)
            for histogram, spent in zip(self._stages.values(), zip(*answered, strict=True), strict=False):
                histogram.add(spent, now=now)

    def happened(self, name: str, camera: str, event_id: str, *, started: bool, going_on: bool) -> None:
        """Count what an event does."""
        with self._lock:
            if len(self._events) < MOST_CAMERAS or (name, camera) in self._events:
                counts = self._events.setdefault((name, camera), _Events())
                counts.started += started
                (counts.going_on.add if going_on else counts.going_on.discard)(event_id)

    def distributions(self) -> dict[str, Distribution]:
        """Latencies per stage since the start."""
        with self._lock:
            return {stage: histogram.distribution() for stage, histogram in self._stages.items()}

    def snapshot(
        self,
        counters: Counters,
        *,
        folders: UnprocessedImages,
        queues: Mapping[str, int],
        dropped: int,
        paused: bool,
        troubles: Mapping[str, str],
        problems: Mapping[str, Mapping[str, str]],
        clock: str,
    ) -> Snapshot:
        """`dropped`: records that the broker never got; `troubles`: what is wrong now, by part."""
        now = time.monotonic()
        uptime = now - self._started
        with self._lock:
            of_late = self._rate.window(now=now).count
            speed = self._speed(of_late, uptime)
            telling = of_late >= TELLING_COUNT
            return Snapshot(
                time=clock,
                uptime_seconds=round(uptime, 1),
                window_seconds=self._window_seconds,
                counters=counters,
                clips=self._clips,
                queues=queues,
                folders=folders.at(speed.window if telling and not paused else 0.0),
                images_per_second=speed,
                latency_ms=self._latencies(now),
                classes=dict(self._classes.most_common()),
                cameras=dict(self._cameras.most_common()),
                errors=dict(self._errors.most_common()),
                bursts=self._bursts,
                events=self._event_counts(),
                dropped=dropped,
                paused=paused,
                troubles=troubles,
                problems=problems,
                temperature_celsius=temperature_celsius(),
                memory_bytes=memory_bytes(),
            )

    def _speed(self, of_late: int, uptime: float) -> Throughput:
        """`of_late`: images within the window."""
        return Throughput(
            window=round(of_late / max(min(uptime, self._window_seconds), 1e-3), 3),
            since_start=round(self._rate.since_start().count / max(uptime, 1e-3), 3),
        )

    def _latencies(self, now: float) -> Latencies:
        return Latencies(
            window={stage: histogram.window(now=now) for stage, histogram in self._stages.items()},
            since_start={stage: histogram.since_start() for stage, histogram in self._stages.items()},
        )

    def _event_counts(self) -> list[EventCount]:
        return [
            EventCount(name, camera, each.started, len(each.going_on))
            for (name, camera), each in sorted(self._events.items())
        ]


def _with(counts: ClipCounts, record: Record) -> ClipCounts:
    """Count one more."""
    if isinstance(record, Failure):
        return msgspec.structs.replace(counts, failed=counts.failed + 1)
    if not isinstance(record, Result) or not record.clip:
        return counts
    return msgspec.structs.replace(
        counts,
        done=counts.done + 1,
        frames_read=counts.frames_read + record.clip.frames_read,
        frames_classified=counts.frames_classified + record.clip.frames_classified,
        decode_seconds=round(counts.decode_seconds + record.latency_ms.decode / 1e3, 3),
    )


def temperature_celsius() -> float | None:
    """The processor's temperature, None where the machine does not tell."""
    try:
        return int(_THERMAL.read_text()) / 1000
    except (OSError, ValueError):
        return None


def memory_bytes() -> int:
    """Resident set size of this process; its highest where no descriptor is left to look."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def summary(snapshot: Snapshot) -> str:
    """One line for the system journal."""
    counters, total = snapshot.counters, snapshot.latency_ms.window["total"]
    seconds = min(snapshot.uptime_seconds, snapshot.window_seconds)
    latency = "\N{EN DASH}"
    if total.count:
        latency = f"p50 {total.p50:.1f}, p95 {total.p95:.1f}, p99 {total.p99:.1f}, max {total.max:.1f}"
    return (
        f"{counters.done} done, {counters.failed} failed, {counters.waiting} waiting; "
        f"{snapshot.images_per_second.window:.2f} images/s over {seconds:.0f} s; "
        f"latency ms {latency}; "
        f"memory {snapshot.memory_bytes / 2**20:.0f} MiB"
    )
