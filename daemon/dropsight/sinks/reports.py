"""What the daemon reports about itself: info, stats and status."""

import socket
from collections.abc import Mapping
from typing import Any

import msgspec

from dropsight.classify.work import Engine
from dropsight.config import Config, effective
from dropsight.intake.source import SourceStatus
from dropsight.models.guesses import guess_of
from dropsight.models.spec import Acceleration, Kernels
from dropsight.names import as_json
from dropsight.records import timestamp
from dropsight.sinks.announcements import MqttStatus
from dropsight.status.stats import Snapshot
from dropsight.version import VERSION


class ModelReport(msgspec.Struct, frozen=True):
    name: str
    path: str
    format: str
    backend: str
    quantization: str
    digest: str
    classes: int
    temperature: float
    instead_of: list[str]
    """Why the models before it in the config are not in force."""
    kernels: Kernels | None = None
    """None where the backend has no choice of them."""
    guess: str | None = None
    """What nothing says of it, with the way out."""
    acceleration: Acceleration | None = None
    """The device that computes it, or was to; None where the CPU does as it should."""


class Status(msgspec.Struct, frozen=True):
    """The answer to `dropsight status`; `troubles` names what is wrong at the moment, by part."""

    version: str
    pid: int
    device: str
    watch: list[str]
    log: str
    model: ModelReport
    mqtt: MqttStatus | None
    dashboard: str | None
    troubles: Mapping[str, str]
    dropped: int
    paused: bool
    stats: Snapshot
    sources: list[SourceStatus] = []
    """What images come by beside the folders."""


def model_report(engine: Engine) -> ModelReport:
    spec = engine.plan.spec
    return ModelReport(
        name=spec.name,
        path=str(spec.path),
        format=spec.format,
        backend=spec.backend,
        quantization=spec.quantization,
        digest=spec.digest,
        classes=len(spec.labels),
        temperature=spec.temperature,
        instead_of=list(engine.instead_of),
        kernels=spec.kernels,
        guess=guess_of(spec),
        acceleration=engine.acceleration,
    )


def info(config: Config, engine: Engine, *, instance: str, started: float) -> bytes:
    """Return the `info` message; secrets are left out by `effective`."""
    spec = engine.plan.spec
    answer: dict[str, Any] = {
        "version": VERSION,
        "device": config.device,
        "instance": instance,
        "host": socket.gethostname(),
        "started": timestamp(started),
        "model": model_report(engine),
        "labels": spec.labels,
        "heads": {head.name: head.labels for head in spec.heads},
        "fallback": str(spec.path) if engine.instead_of else None,
        "config": effective(config),
    }
    return as_json(answer)
