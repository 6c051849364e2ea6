"""Recent history: classes of the last day, each camera's last image, speed and latency over time."""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from dropsight.journal.outbox import Delivery
from dropsight.records import Failure, Glance, Group, Present, Record, Result, Share, burst_in, shown_labels
from dropsight.status.latency import Distribution, middle_of, percentiles

HOURS = 24
SHOWN_CLASSES = 12
MOST_CAMERAS = 1_000
POINT_SECONDS = 5.0
POINTS = 180


class DayCounts(msgspec.Struct, frozen=True):
    """The last 24 hours, in whole hours: images, those that could not be read, the most frequent labels."""

    images: int
    failed: int
    classes: dict[str, int]


class Camera(msgspec.Struct, frozen=True):
    """`last` is when its last image was recorded, in seconds since 1970."""

    last: float
    images: int


class Point(msgspec.Struct, frozen=True):
    """The five seconds up to `time`: images a second, and milliseconds."""

    time: float
    images_per_second: float
    p50: float
    p95: float
    p99: float
    waiting: int


class _Brief(msgspec.Struct):
    """As much of a record as is counted."""

    time: str
    label: str = ""
    confidence: float = 0.0
    present: Present = msgspec.UNSET
    group: Group = msgspec.UNSET
    group_confidence: Share = msgspec.UNSET


_brief = Glance(_Brief)


def _seconds(time: str) -> float | None:
    """Since 1970; None for what is no time, which another dropsight may have written."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return None


class DayHistory:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hours: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._images: Counter[int] = Counter()
        self._failed: Counter[int] = Counter()
        self._last: dict[str, float] = {}
        self._of_camera: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def add(self, records: Iterable[Record]) -> None:
        """Count what was recorded just now."""
        now = time.time()
        with self._lock:
            for record in records:
                if burst_in(record):
                    continue  # its photos are counted
                labels = shown_labels(record) if isinstance(record, Result) else []
                self._count(now, record.camera, labels, failed=isinstance(record, Failure))
                if record.camera in self._last:  # which another clock may have said
                    self._last[record.camera] = now
            self._forget(now)

    def recall(self, page: Sequence[Delivery]) -> bool:
        """Count what stands in the journal, newest first; False once that is more than a day old."""
        now = time.time()
        with self._lock:
            for delivery in page:
                if delivery.status == "burst":
                    continue
                brief = _brief.at(delivery.line)
                at = _seconds(brief.time)
                if at is None:
                    continue
                if at < now - HOURS * 3600:
                    return False
                labels = shown_labels(brief) if brief.label else []
                self._count(at, delivery.camera, labels, failed=delivery.status == "failed")
        return True

    def day(self) -> DayCounts:
        with self._lock:
            self._forget(time.time())
            classes: Counter[str] = Counter()
            for counted in self._hours.values():
                classes.update(counted)
            return DayCounts(
                self._images.total(), self._failed.total(), dict(classes.most_common(SHOWN_CLASSES))
            )

    def cameras(self) -> dict[str, Camera]:
        with self._lock:
            counts: Counter[str] = Counter()
            for counted in self._of_camera.values():
                counts.update(counted)
            return {name: Camera(last, counts[name]) for name, last in sorted(self._last.items())}

    def _count(self, at: float, camera: str, labels: Sequence[str], *, failed: bool) -> None:
        hour = int(at // 3600)
        self._images[hour] += 1
        labelled = self._hours[hour]
        for label in labels:
            labelled[label] += 1
        self._failed[hour] += failed
        if camera in self._last or len(self._last) < MOST_CAMERAS:
            self._last.setdefault(camera, at)
            self._of_camera[hour][camera] += 1

    def _forget(self, now: float) -> None:
        oldest = int(now // 3600) - HOURS + 1
        for hour in [hour for hour in self._hours if hour < oldest]:
            del self._hours[hour]
            del self._images[hour]
            self._of_camera.pop(hour, None)
            self._failed.pop(hour, None)


class QuarterHour:
    """Points five seconds apart, a quarter of an hour back; not thread-safe."""

    def __init__(self) -> None:
        self.points: deque[Point] = deque(maxlen=POINTS)
        self._before: tuple[Distribution, float] | None = None

    def add(self, totals: Distribution, *, waiting: int) -> None:
        """Note what came since the last time; the first time is only where counting begins."""
        now, before = time.monotonic(), self._before
        self._before = totals, now
        if before is None:
            return
        counts, seconds = totals.counts - before[0].counts, max(now - before[1], 1e-3)
        found = percentiles(counts, middle_of(int(counts.nonzero()[0].max(initial=0))))
        point = Point(
            round(time.time(), 1), round(found.count / seconds, 2), found.p50, found.p95, found.p99, waiting
        )
        self.points.append(point)
