"""The daemon's metrics in Prometheus format, collected on request."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from dropsight.cameras.watch import KINDS
from dropsight.errors import ErrorCode
from dropsight.sinks.reports import Status
from dropsight.status.ignored import HIDDEN, NO_SUFFIX, OTHERS
from dropsight.status.latency import Distribution
from dropsight.status.stats import ClipCounts, EventCount, FollowerStats, Snapshot
from dropsight.status.troubles import PARTS
from dropsight.web.overview import Overview, Overviews

BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

CODES: tuple[str, ...] = get_args(ErrorCode)
# Of more, only those that were seen are told of: each is a line in every answer.
MOST_LABELS = 2_000

Values: TypeAlias = Mapping[str, float]


class Metrics:
    """A registry of our own: what other libraries count is none of ours."""

    def __init__(self, overviews: Overviews) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(overviews))
        ProcessCollector(registry=self._registry)

    def encoded(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type, OpenMetrics for those who accept it."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # of a version that is no number
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type


class _Figures(Collector):
    def __init__(self, overviews: Overviews) -> None:
        self._overviews = overviews

    def collect(self) -> Iterator[Metric]:
        seen = self._overviews.overview()
        yield from _of_images(seen.status.stats, self._overviews.daemon.labels())
        yield from _of_clips(seen.status.stats.clips)
        yield from _of_events(seen.status.stats.events)
        yield from _of_latency(self._overviews.daemon.distributions())
        yield from _of_queues(seen.status.stats)
        yield from _of_sources(seen.status)
        yield from _of_folders(seen.status.stats)
        yield from _of_broker(seen.status)
        yield from _of_followers(seen.status.stats.followers)
        yield from _of_model(seen.status)
        yield from _of_cameras(seen, self._overviews.daemon.cameras())
        yield from _of_machine(seen)
        yield from _of_web(seen)

    def describe(self) -> list[Metric]:
        return []


def _of_images(stats: Snapshot, labels: Collection[str]) -> Iterator[Metric]:
    """A series that is not there at 0 before is counted by `increase` and `rate` without its first images."""
    counters = stats.counters
    by_status = {"ok": counters.done, "failed": counters.failed, "expired": counters.expired}
    yield _counter("images", "Images recorded since the start, by status.", by_status, "status")
    failures = _from_zero(CODES, stats.errors)
    yield _counter("failures", "Images that could not be read, by error code.", failures, "code")
    classes = _from_zero(labels if len(labels) <= MOST_LABELS else (), stats.classes)
    yield _counter("class_images", "Images classified since the start, by label.", classes, "label")
    text = "Bursts of images recorded since the start, beside the images themselves."
    yield _plain_counter("bursts", text, stats.bursts)
    yield _gauge("images_waiting", "Images found, not yet recorded.", counters.waiting)
    yield _gauge("paused", "1 while the daemon is paused.", stats.paused)


def _of_clips(clips: ClipCounts) -> Iterator[Metric]:
    by_status = {"ok": clips.done, "failed": clips.failed}
    yield _counter(
        "clips", "Clips among the images recorded since the start, by status.", by_status, "status"
    )
    yield _gauge("clips_waiting", "Clips found, not yet recorded.", clips.waiting)
    frames = {"read": clips.frames_read, "classified": clips.frames_classified}
    yield _counter("clip_frames", "Frames of clips, decoded and invoked.", frames, "what")
    text = "Seconds for which frames of clips were decoded."
    yield _plain_counter("clip_decode_seconds", text, clips.decode_seconds)


def _of_events(events: Sequence[EventCount]) -> Iterator[Metric]:
    if not events:
        return
    labels = ["name", "camera"]
    started = CounterMetricFamily("dropsight_events", "Events that began since the start.", labels=labels)
    going_on = GaugeMetricFamily("dropsight_events_going_on", "Events that go on now.", labels=labels)
    for each in events[:MOST_LABELS]:
        started.add_metric([each.name, each.camera], each.started)
        going_on.add_metric([each.name, each.camera], each.going_on)
    yield started
    yield going_on


def _of_latency(stages: Mapping[str, Distribution]) -> Iterator[Metric]:
    text = "Seconds per stage; total: from when the file is ready until its record is durable."
    family = HistogramMetricFamily("dropsight_stage_latency_seconds", text, labels=["stage"])
    for stage, found in stages.items():
        buckets = [(str(bound), float(found.at_most(bound * 1e3))) for bound in BOUNDS_SECONDS]
        buckets.append(("+Inf", float(found.counts.sum())))
        family.add_metric([stage], buckets, found.total_ms / 1e3)
    yield family


def _of_queues(stats: Snapshot) -> Iterator[Metric]:
    depths = {name: depth for name, depth in stats.queues.items() if name != "outbox"}
    yield _gauges("queue_depth", "Items in the pipeline's queues.", depths, "queue")
    yield _gauge("outbox_records", "Records not yet delivered to the broker.", stats.queues["outbox"])


def _of_sources(status: Status) -> Iterator[Metric]:
    if not status.sources:
        return
    connected = {source.name: float(source.connected) for source in status.sources}
    yield _gauges("source_connected", "1 while images can arrive by it.", connected, "source")
    received = {source.name: source.received for source in status.sources}
    yield _counter("source_images", "Images that arrived by it, and are in the inbox.", received, "source")
    text = "Messages acknowledged and discarded, by reason."
    family = CounterMetricFamily("dropsight_source_refused", text, labels=["source", "reason"])
    for source in status.sources:
        for reason, count in source.refused.items():
            family.add_metric([source.name, reason], count)
    yield family


def _of_folders(stats: Snapshot) -> Iterator[Metric]:
    files = _from_zero((HIDDEN, NO_SUFFIX, OTHERS), stats.folders.ignored.files)
    text = "Files in the inboxes ignored because their names match no pattern, by suffix."
    yield _gauges("ignored_files", text, files, "suffix")


def _of_broker(status: Status) -> Iterator[Metric]:
    if status.mqtt is None:
        return
    yield _gauge("mqtt_connected", "1 while there is a connection to the broker.", status.mqtt.connected)
    yield _plain_counter("mqtt_published", "Records that the broker accepted.", status.mqtt.published)
    large, aside = status.mqtt.oversized, status.mqtt.set_aside
    yield _plain_counter("mqtt_oversized", "Records that were too large for the broker.", large)
    yield _plain_counter("mqtt_set_aside", "Records on which the broker closed the connection.", aside)
    untold = status.mqtt.untold
    yield _plain_counter("mqtt_untold", "Announcements not delivered to the broker.", untold)
    yield _plain_counter(
        "mqtt_dropped", "Records dropped before delivery to the broker: too many.", status.dropped
    )


def _of_followers(followers: Mapping[str, FollowerStats]) -> Iterator[Metric]:
    def of_each(value: Callable[[FollowerStats], int]) -> dict[str, float]:
        return {name: float(value(each)) for name, each in followers.items()}

    text = "Records not yet delivered to a follower of the journal."
    yield _gauges("follower_waiting", text, of_each(lambda each: each.waiting), "follower")
    text = "Records that a follower of the journal has delivered."
    yield _counter("follower_delivered", text, of_each(lambda each: each.delivered), "follower")
    text = "Records that the receiver of a follower rejects."
    yield _counter("follower_set_aside", text, of_each(lambda each: each.set_aside), "follower")
    text = "Records dropped before delivery by a follower: too many."
    yield _counter("follower_dropped", text, of_each(lambda each: each.dropped), "follower")


def _of_model(status: Status) -> Iterator[Metric]:
    model = status.model
    facts = {
        "name": model.name,
        "format": model.format,
        "quantization": model.quantization,
        "backend": model.backend,
        "digest": model.digest,
        "fallback": "yes" if model.instead_of else "no",
    }
    yield InfoMetricFamily("dropsight_model", "The model in force.", facts)
    about = {"version": status.version, "device": status.device}
    yield InfoMetricFamily("dropsight", "The daemon.", about)


def _of_cameras(seen: Overview, known: Collection[str]) -> Iterator[Metric]:
    counts = _from_zero(known, seen.status.stats.cameras)
    yield _counter("camera_images", "Images recorded since the start, by camera.", counts, "camera")
    last = {name: camera.last for name, camera in seen.cameras.items()}
    text = "When the last image of a camera was recorded, in seconds since 1970."
    yield _gauges("camera_last_image_timestamp_seconds", text, last, "camera")
    text = "1 for each problem that a camera has now, 0 for each that it has not."
    family = GaugeMetricFamily("dropsight_camera_problem", text, labels=["camera", "kind"])
    problems = seen.status.stats.problems
    for camera in sorted({*known, *problems}):
        for kind in KINDS:
            family.add_metric([camera, kind], float(kind in problems.get(camera, {})))
    yield family


def _of_machine(seen: Overview) -> Iterator[Metric]:
    parts = dict.fromkeys(PARTS, 0.0) | dict.fromkeys(seen.status.troubles, 1.0)
    text = "1 for each part with a problem now, 0 for each without."
    yield _gauges("trouble", text, parts, "part")
    yield _gauge("disk_free_bytes", "Free space on the disk of the journal.", seen.disk.free_bytes)
    yield _gauge("disk_size_bytes", "Size of the disk of the journal.", seen.disk.total_bytes)
    celsius = seen.status.stats.temperature_celsius
    if celsius is not None:
        yield _gauge("cpu_temperature_celsius", "The processor's temperature.", celsius)


def _of_web(seen: Overview) -> Iterator[Metric]:
    yield _gauge("web_streams", "Clients of the results stream.", seen.streams)
    yield _plain_counter(
        "web_streams_dropped", "Clients disconnected for being too slow.", seen.streams_dropped
    )


def _from_zero(known: Iterable[str], values: Mapping[str, int]) -> Values:
    return {**dict.fromkeys(known, 0.0), **values}


def _counter(name: str, text: str, values: Values, label: str) -> Metric:
    family = CounterMetricFamily(f"dropsight_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _plain_counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"dropsight_{name}", text, value=value)


def _gauges(name: str, text: str, values: Values, label: str) -> Metric:
    family = GaugeMetricFamily(f"dropsight_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"dropsight_{name}", text, value=float(value))
