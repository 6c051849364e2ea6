"""Memory, cores, models and the log, as the config asks for them."""

import ctypes
import logging
import os

import cv2
import numpy as np

from dropsight.config import Config
from dropsight.errors import ConfigError, SinkError, StoreError, is_passing
from dropsight.models.describing import Said
from dropsight.models.registry import open_first
from dropsight.models.spec import Model
from dropsight.sinks.jsonlog import JsonLog

log = logging.getLogger(__name__)

_M_ARENA_MAX = -8


def cores() -> int:
    return len(os.sched_getaffinity(0))


def interpreters() -> int:
    """One for every two cores, but two from two cores on: each costs about 10 MB."""
    return min(max(cores() // 2, 2), cores())


def share_memory() -> None:
    """Few heaps for many threads, and OpenCV's own threads out of our workers' way."""
    cv2.setNumThreads(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_ARENA_MAX, 2)


def open_models(config: Config) -> tuple[list[Model], list[str]]:
    """Open one a worker, and invoke each once: the first invoke takes longer than all others.

    Return them, and why the models before the one in force could not be loaded.
    """
    settings = config.model
    threads = 1 if settings.threads == "auto" else settings.threads
    workers = interpreters() if config.inference.workers == "auto" else config.inference.workers
    said = Said(settings.labels, settings.normalization)
    first, reasons = open_first((settings.path, *settings.fallback), said=said, threads=threads)
    if reasons:
        log.warning("falling back to %s, because %s", first.spec.path, "; ".join(reasons))
    models = [first, *(first.replicate() for _ in range(workers - 1))]
    spec = first.spec
    views = max(len(config.inference.tta), 1)
    for model in models:
        model.scores(np.zeros((views, spec.height, spec.width, spec.channels), spec.input.dtype))
    return models, reasons


def open_log(config: Config) -> JsonLog:
    settings = config.log
    try:
        return JsonLog(
            settings.path,
            max_bytes=settings.max_bytes,
            backups=settings.backups,
            compress=settings.compress,
        )
    except SinkError as error:
        raise (
            StoreError(str(error)) if is_passing(error.__cause__) else ConfigError([str(error)])
        ) from error
