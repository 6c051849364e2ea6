"""What the daemon tells of itself: info, stats and status."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dropsight.config import Config, effective
from dropsight.inference.pipeline import timestamp
from dropsight.models.spec import ModelSpec
from dropsight.service.stats import Snapshot
from dropsight.sinks.mqtt import MqttStatus
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


class Status(msgspec.Struct, frozen=True):
    """The answer to `dropsight status`; `troubles` names what is wrong at the moment, by part."""

    version: str
    pid: int
    device: str
    watch: list[str]
    log: str
    model: ModelReport
    mqtt: MqttStatus | None
    troubles: Mapping[str, str]
    dropped: int
    stats: Snapshot


def model_report(spec: ModelSpec, instead_of: list[str]) -> ModelReport:
    return ModelReport(
        name=spec.name,
        path=str(spec.path),
        format=spec.format,
        backend=spec.backend,
        quantization=spec.quantization,
        digest=spec.digest,
        classes=len(spec.labels),
        temperature=spec.temperature,
        instead_of=instead_of,
    )


def info(config: Config, spec: ModelSpec, instead_of: list[str]) -> Callable[[], bytes]:
    """Return what gives the `info` message; secrets are left out by `effective`."""
    answer: dict[str, Any] = {
        "version": VERSION,
        "device": config.device,
        "started": timestamp(time.time()),
        "model": model_report(spec, instead_of),
        "labels": spec.labels,
        "fallback": str(spec.path) if instead_of else None,
        "config": effective(config),
    }
    encoded = msgspec.json.encode(answer)
    return lambda: encoded
