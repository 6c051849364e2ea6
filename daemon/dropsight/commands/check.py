"""`dropsight check`."""

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TypeAlias

from dropsight import installing
from dropsight.commands.settings import find_config, settings
from dropsight.config import Config, token
from dropsight.daemon.folders import open_folders
from dropsight.errors import ConfigError, DropsightError, ModelError
from dropsight.inference.runtime import ImageInferenceRuntime
from dropsight.sinks.mqtt import try_broker
from dropsight.web.extra import is_installed

Trial: TypeAlias = tuple[str, Callable[[], str]]


def check(file: Path | None) -> int:
    """Print a line a finding; return 0 if all is well, 2 for the config or its folders, else 1."""
    file = find_config(file)
    config = settings(file)
    print(f"ok    config   {file or 'defaults'}")
    codes = [_try(name, trial) for name, trial in _trials(config)]
    return max(codes)


def _trials(config: Config) -> Iterator[Trial]:
    yield "folders", lambda: ", ".join(folder.root for folder in open_folders(config))
    runtime: list[ImageInferenceRuntime] = []
    yield "model", lambda: _load(config, runtime)
    yield "kernels", lambda: _kernels(runtime)
    yield "image", lambda: _classify(runtime)
    mqtt = config.mqtt
    if mqtt is None:
        yield "broker", lambda: "none: mqtt is null"
    else:
        yield "broker", lambda: f"MQTT {try_broker(mqtt, config.device)}"
    yield "web", lambda: _web(config)


def _try(name: str, trial: Callable[[], str]) -> int:
    try:
        finding = trial()
    except DropsightError as error:
        for line in str(error).splitlines():
            print(f"FAIL  {name:<8} {line}")
        return 2 if isinstance(error, ConfigError) else 1
    if finding:
        print(f"ok    {name:<8} {finding}")
    return 0


def _web(config: Config) -> str:
    if config.web is None:
        return "none: web is null"
    asks = "asks for the token" if token(config.web) else "asks for no token"
    return f"{config.web.listen}, {asks}" if is_installed() else f"none: {installing.with_extra('web')}"


def _load(config: Config, loaded: list[ImageInferenceRuntime]) -> str:
    settings = config.model
    runtime = ImageInferenceRuntime(
        settings.path, labels=settings.labels, normalization=settings.normalization, resize=settings.resize
    )
    loaded.append(runtime)
    return f"{runtime.spec.name}, {runtime.spec.quantization}, {len(runtime.spec.labels)} classes"


def _kernels(loaded: list[ImageInferenceRuntime]) -> str:
    kernels = loaded[0].spec.kernels if loaded else None
    if kernels and kernels.fault:
        raise ModelError(str(kernels))
    return str(kernels) if kernels else ""


def _classify(loaded: list[ImageInferenceRuntime]) -> str:
    if not loaded:
        return ""
    sample = resources.files("dropsight") / "samples" / "chelsea.jpg"
    result = loaded[0].predict(sample.read_bytes())
    return f"a cat is {result.label} ({result.confidence:.1%}) in {result.latency_ms.total:.1f} ms"
