"""`dropsight status`."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from dropsight.commands.settings import find_config, settings
from dropsight.errors import DropsightError
from dropsight.intake.source import SourceStatus
from dropsight.names import as_shown
from dropsight.sinks.reports import Status
from dropsight.status.census import UnprocessedImages
from dropsight.status.control import ask
from dropsight.status.latency import Percentiles
from dropsight.status.stats import EventCount, FollowerStats


def show(file: Path | None, *, as_json: bool) -> None:
    """Ask the daemon; raises NotRunningError."""
    answer = ask(settings(find_config(file)).store.path.parent, "status")
    try:
        if as_json:
            sys.stdout.buffer.write(msgspec.json.format(answer, indent=2) + b"\n")
            return
        status = msgspec.json.decode(answer, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DropsightError(f"the daemon's answer is not valid: {error}") from error
    print("\n".join(map(as_shown, _lines(status))))


def _lines(status: Status) -> Iterator[str]:
    yield from _in_use(status)
    yield from _counted(status)
    stats = status.stats
    speed = stats.images_per_second
    yield f"speed      {speed.window:.2f} images/s recently, {speed.since_start:.2f} since the start"
    yield f"queues     {', '.join(f'{name} {depth}' for name, depth in stats.queues.items())}"
    yield f"broker     {_broker(status)}"
    yield from (
        f"follower   {name}, {_following(each)}" for name, each in stats.followers.items() if name != "mqtt"
    )
    yield f"dashboard  {status.dashboard or 'none'}"
    yield f"memory     {stats.memory_bytes / 2**20:.0f} MiB"
    yield from (
        f"trouble    {part}: {text.removeprefix(f'{part} ')}" for part, text in status.troubles.items()
    )
    for camera, problems in stats.problems.items():
        yield from (f"problem    {camera} is {kind}: {text}" for kind, text in problems.items())
    yield from _table(f"ms, last {stats.window_seconds:.0f} s", stats.latency_ms.window)
    yield from _table("ms, since start", stats.latency_ms.since_start)
    for name, counts in (("classes", stats.classes), ("cameras", stats.cameras), ("errors", stats.errors)):
        if counts:
            most = sorted(counts.items(), key=lambda pair: -pair[1])[:8]
            yield f"{name:<10} {', '.join(f'{key} {count}' for key, count in most)}"


def _in_use(status: Status) -> Iterator[str]:
    """Which daemon, folders and model."""
    up = _span(status.stats.uptime_seconds)
    yield f"dropsight {status.version} on {status.device}, pid {status.pid}, up {up}"
    yield f"watching   {', '.join(status.watch)}"
    yield from (f"source     {_source(source)}" for source in status.sources)
    model = status.model
    yield f"model      {model.name} ({model.quantization}, {model.classes} classes, {model.backend})"
    if model.guess:
        yield f"guess      {model.guess}"
    if model.kernels:
        yield f"kernels    {model.kernels}"
    if model.acceleration:
        yield f"runs on    {model.acceleration}"
    yield from (f"fallback   because {reason}" for reason in model.instead_of)


def _counted(status: Status) -> Iterator[str]:
    """What came in, and what became of it."""
    stats = status.stats
    counters, clips = stats.counters, stats.clips
    yield f"images     {counters.done} done, {counters.failed} failed, {counters.waiting} waiting"
    if clips.done or clips.failed or clips.waiting:
        spent = f"{clips.frames_classified} frames classified, {clips.decode_seconds:.1f} s decoded"
        yield f"clips      {clips.done} done, {clips.failed} failed, {clips.waiting} waiting; {spent}"
    if stats.bursts:
        yield f"bursts     {stats.bursts} recorded, of images among these"
    if stats.events:
        yield f"events     {', '.join(map(_event, stats.events))}"
    yield f"folders    {_lying(stats.folders)}"
    yield from (f"linked     {line}" for line in stats.folders.ignored.lines_of_links())
    yield from (f"ignored    {line}" for line in stats.folders.ignored.lines())


def _event(each: EventCount) -> str:
    going_on = f" ({each.going_on} going on)" if each.going_on else ""
    return f"{each.name} {each.camera} {each.started}{going_on}"


def _lying(folders: UnprocessedImages) -> str:
    more = "at least " if folders.counting else ""
    span = "" if folders.seconds_left is None else f", about {_span(folders.seconds_left)} for them"
    return f"{more}{folders.images:,} images in them{span}{', still counting' if folders.counting else ''}"


def _source(source: SourceStatus) -> str:
    state = "connected" if source.connected else "not connected"
    refused = "".join(f", {count} refused ({why})" for why, count in source.refused.items() if count)
    return f"{source.place}, {state}, {source.received} received{refused}"


def _broker(status: Status) -> str:
    mqtt = status.mqtt
    if mqtt is None:
        return "none"
    state = f"connected, MQTT {mqtt.protocol}" if mqtt.connected else "not connected"
    counts = {"too large for it": mqtt.oversized, "set aside": mqtt.set_aside}
    lost = "".join(f", {count} {what}" for what, count in counts.items() if count)
    return f"{mqtt.url}, {state}, {mqtt.published} published, {status.dropped} dropped{lost}"


def _following(each: FollowerStats) -> str:
    counts = {"dropped": each.dropped, "set aside": each.set_aside}
    lost = "".join(f", {count} {what}" for what, count in counts.items() if count)
    return f"{each.to}, {each.delivered} delivered, {each.waiting} waiting{lost}"


def _table(title: str, stages: Mapping[str, Percentiles]) -> Iterator[str]:
    yield f"{title:<18}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}{'count':>9}"
    for stage, found in stages.items():
        values = (found.p50, found.p95, found.p99, found.max)
        shown = (f"{value:.1f}" if found.count else "\N{EN DASH}" for value in values)
        yield f"  {stage:<16}{''.join(f'{value:>9}' for value in shown)}{found.count:>9}"


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
