"""The models in use with the plan for their images: opened, warmed up and tested before they are used."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dropsight.children import available_bytes
from dropsight.classify.proved_models import ProvedModels
from dropsight.classify.resources import cores
from dropsight.classify.rule_labels import doubts_of_rules, unknown_labels
from dropsight.classify.work import Engine
from dropsight.config import Config
from dropsight.config.rules import MOST_THREADS
from dropsight.errors import ConfigError, ImageError, ModelError
from dropsight.images.opening import open_image
from dropsight.inference import pipeline
from dropsight.inference.planning import Plan, plan_of
from dropsight.inference.wording import without_effect
from dropsight.models.backends import open_first
from dropsight.models.guesses import guess_of
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import Golden, beside
from dropsight.models.spec import Batch, Model, ModelOptions
from dropsight.names import as_text
from dropsight.status.stats import memory_bytes
from dropsight.status.systemd import LongStart

log = logging.getLogger(__name__)

# What each interpreter but the first takes, measured: packed weights, as a share of the file, and tensors.
PACKED, TENSORS_BYTES = 1.3, 8 * 2**20
ARRIVAL_SECONDS = 2.0
LOOK_SECONDS = 0.1
LONGEST_ARRIVAL_SECONDS = 60.0


def proved(config: Config) -> ProvedModels:
    return ProvedModels(config.store.path.with_name("proved-models"))


def open_engine(config: Config, known: ProvedModels | None = None) -> Engine:
    """Open one interpreter per worker, and invoke each once: the first invoke takes longer than all others.

    An unknown model is tested in a separate process first.

    Raises ModelError if no model can be loaded or its golden images are misclassified; ConfigError for
    more threads in all than the service may have.
    """
    with LongStart(f"opening the model {as_text(config.model.path)}") as long_start:
        return _opened(config, known or ProvedModels(None), long_start)


def _opened(config: Config, known: ProvedModels, long_start: LongStart) -> Engine:
    settings = config.model
    options = ModelOptions.of(settings)
    said = ModelOverrides.of(settings, config.groups)
    paths = (settings.path, *settings.fallback)
    before = memory_bytes()
    trial = known.trial(said, looked=long_start.looked)
    model, reasons, acceleration = open_first(paths, said=said, options=options, trial=trial)
    if reasons:
        log.warning("falling back to %s, because %s", model.spec.path, "; ".join(reasons))
    for fault in model.spec.faults:
        log.warning("%s: %s", model.spec.path, fault)
    if guess := guess_of(model.spec):
        log.warning("%s: %s", model.spec.name, guess)
    for text in (*unknown_labels(config, model.spec), *doubts_of_rules(config)):
        log.warning("%s", text)
    if idle := without_effect(model.spec, config.inference):
        log.warning("%s: %s", model.spec.name, idle)
    for name, found in (("kernels", model.spec.kernels), ("computed by", acceleration)):
        if found:
            log.log(
                logging.WARNING if found.fault else logging.INFO, "%s: %s: %s", model.spec.name, name, found
            )
    count = workers(config, model)
    _bound_threads(options.threads, count)
    plan = plan_of(config, model.spec)
    blank = np.zeros((max(len(config.inference.tta), 1), *plan.spec.input.shape[1:]), plan.spec.input.dtype)
    model.scores(blank)
    models = [model, *_replicas(config, model, blank, count - 1, took=memory_bytes() - before)]
    known.passed()
    for golden in plan.spec.golden:
        _prove(golden, model, plan)
    return Engine(plan, plan.in_a_hurry(), models, reasons, acceleration)


def _replicas(config: Config, model: Model, blank: Batch, count: int, *, took: int) -> Iterator[Model]:
    """Yield so many more, or as many as leave half of the memory that is free; the first one took so much.

    Its file says little of what a model's tensors take; whoever says how many workers there are, knows.
    """
    for number in range(1, count + 1):
        if config.inference.workers == "auto" and took > available_bytes() // 2:
            text = "%d of %d workers: there is no memory for more, %s takes %d MiB for each"
            log.warning(text, number, count + 1, model.spec.name, took // 2**20)
            return
        before = memory_bytes()
        another = model.replicate()
        another.scores(blank)
        took = memory_bytes() - before
        yield another


def _bound_threads(each: int, count: int) -> None:
    """The config cannot know how many workers "auto" makes of this machine's cores."""
    if each * count > MOST_THREADS:
        text = f"model.threads: {each} for each of {count} workers makes {each * count} threads"
        raise ConfigError(
            [f"{text}; give fewer, or inference.workers: at most {MOST_THREADS} are possible in all"]
        )


def workers(config: Config, model: Model) -> int:
    """One per core, but no more than fit into memory, and one for a device or a backend of many threads."""
    if acceleration := model.spec.acceleration:
        if config.inference.workers not in {"auto", 1}:
            log.warning("inference.workers: has no effect, there is one for %s", acceleration.device)
        return 1
    if config.inference.workers != "auto":
        return config.inference.workers
    if model.replicate() is model:
        return 1
    each = int(PACKED * model.spec.path.stat().st_size) + TENSORS_BYTES
    return max(min(cores(), 1 + available_bytes() // 2 // each), 1)


def open_engine_when_whole(config: Config) -> Engine:
    """As `open_engine`, but a model that does not load is waited for while it is still being copied."""
    path, deadline = config.model.path, time.monotonic() + LONGEST_ARRIVAL_SECONDS
    while True:
        before = _signature(path)
        try:
            return open_engine(config, proved(config))
        except ModelError as error:
            if time.monotonic() > deadline or not _changes(path, before):
                raise
            log.info("%s is still being copied: waiting for it (%s)", path, error)


def _changes(path: str, before: tuple[int, int] | None) -> bool:
    """Whether the file becomes another within the time that a copy may pause."""
    until = time.monotonic() + ARRIVAL_SECONDS
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        if _signature(path) != before:
            return True
    return False


def _signature(path: str) -> tuple[int, int] | None:
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _prove(golden: Golden, model: Model, plan: Plan) -> None:
    path = beside(model.spec.path, golden.image)
    where = f"{model.spec.path}: golden image {path}"
    try:
        with open_image(path) as file:
            prepared = pipeline.prepare(*pipeline.read(file, plan), plan)
    except (ImageError, OSError) as error:
        raise ModelError(f"{where}: {error}") from error
    best = pipeline.predict(model, prepared, plan).predictions[0]
    if golden.expects not in {best.class_index, best.label}:
        raise ModelError(f"{where}: classified as {best.label} ({best.class_index}), not as {golden.expects}")
    if golden.confidence is not None and abs(best.confidence - golden.confidence) > golden.tolerance:
        raise ModelError(
            f"{where}: confidence {best.confidence:.3f}, not {golden.confidence} ± {golden.tolerance}"
        )
