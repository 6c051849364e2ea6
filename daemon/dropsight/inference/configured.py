"""The runtime of a config: pictures are taken, and answered, as the daemon does those of one camera."""

import logging
import os
from functools import partial

import msgspec

from dropsight.config import Config
from dropsight.inference.interpreters import Interpreters
from dropsight.inference.planning import plan_of
from dropsight.inference.predictor import Predictor
from dropsight.models.backends import open_first
from dropsight.models.guesses import guess_of
from dropsight.models.isolated import try_in_a_copy
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import ModelOptions

log = logging.getLogger(__name__)


class ConfiguredRuntime(Predictor):
    """Of a model that a config names, by its settings."""

    @classmethod
    def open(cls, config: Config) -> "ConfiguredRuntime":
        """Open its model, or a fallback, in a copy of this process first; raises ModelError, ConfigError."""
        threads = len(os.sched_getaffinity(0))
        options = msgspec.structs.replace(ModelOptions.of(config.model), threads=threads)
        paths = (config.model.path, *config.model.fallback)
        said = ModelOverrides.of(config.model, config.groups)
        trial = partial(try_in_a_copy, said=said)
        model, reasons, _ = open_first(paths, said=said, options=options, trial=trial)
        told = (*reasons, *model.spec.faults, *filter(None, [guess_of(model.spec)]))
        for text in told:
            log.warning("%s: %s", model.spec.name, text)
        # Nobody watches these cameras.
        plan = msgspec.structs.replace(plan_of(config, model.spec), looks=False, thumbnails=False)
        return cls(plan, Interpreters(model, threads), threads)

    def of(self, camera: str | None) -> "ConfiguredRuntime":
        """Return the runtime for pictures of this camera, which shares the model."""
        if camera is None or camera not in self._plan.sights:
            return self
        return ConfiguredRuntime(self._plan.of(camera), self._opened(), self._threads)
