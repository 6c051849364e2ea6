"""Files that are classified as a daemon's config has it, each as one of its camera's."""

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Unpack

import cv2
import msgspec
from tqdm import tqdm

from dropsight.commands.mixed import Outcome, outcomes
from dropsight.commands.settings import settings
from dropsight.config import Config
from dropsight.errors import ConfigError
from dropsight.inference.configured import ConfiguredRuntime
from dropsight.inference.predictor import Predictor
from dropsight.inference.runtime import DEFAULT_MODEL, ImageInferenceRuntime
from dropsight.inference.runtime_options import ClipOptions, views_of
from dropsight.intake.camera_names import naming
from dropsight.models.isolated import try_in_a_copy
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import ModelOptions


class Classifying:
    """How a command is to classify files: by a config, or by what is said on the command line alone."""

    def __init__(
        self, file: Path | None, camera: str | None, *, model: str | None, tta: bool, top: int = 5
    ) -> None:
        """Open the model; raises ConfigError, ModelError."""
        if file is None and camera is not None:
            raise ConfigError(["--camera: needs -c FILE, the config that it is in"])
        # Each image has a thread of ours: OpenCV's own beside them would only take their cores.
        cv2.setNumThreads(1)
        self._camera, self._config = camera, _config(file, model, tta=tta, top=top) if file else None
        if camera is not None and self._config:
            _warn_of(camera, self._config)
        self.runtime: Predictor
        if self._config:
            self.runtime = ConfiguredRuntime.open(self._config)
        else:
            path = model or DEFAULT_MODEL
            try_in_a_copy(path, ModelOptions(), said=ModelOverrides())
            self.runtime = ImageInferenceRuntime(path, use_tta=tta, top_k=top)

    @property
    def of_all(self) -> Predictor:
        """The runtime for files that lie anywhere: that of --camera, if it is given."""
        return self._of_camera(self._camera)

    def of(self, path: str | Path) -> Predictor:
        """Return the runtime for a file."""
        return self._of_camera(self._camera_of(path))

    def outcomes(
        self,
        paths: Sequence[str | Path],
        *,
        batch_size: int = 32,
        show_progress: bool = False,
        **sampling: Unpack[ClipOptions],
    ) -> Generator[Outcome, None, None]:
        """Yield one result per file, as it is done; see `commands.mixed.outcomes`."""
        with tqdm(total=len(paths), unit="file", disable=not show_progress) as progress:
            for camera, group in groupby(paths, key=self._camera_of):
                made = outcomes(list(group), self._of_camera(camera), batch_size=batch_size, **sampling)
                with closing(made):
                    for each in made:
                        progress.update()
                        yield each

    def _camera_of(self, path: str | Path) -> str | None:
        return self._camera or (camera_of(path, self._config) if self._config else None)

    def _of_camera(self, camera: str | None) -> Predictor:
        return self.runtime.of(camera) if isinstance(self.runtime, ConfiguredRuntime) else self.runtime


def _config(file: Path, model: str | None, *, tta: bool, top: int) -> Config:
    config = settings(file, overrides={"model.path": model} if model else {})
    inference = msgspec.structs.replace(
        config.inference,
        top_k=max(config.inference.top_k, top),
        tta=views_of(5) if tta else config.inference.tta,
    )
    return msgspec.structs.replace(config, inference=inference)


def _warn_of(camera: str, config: Config) -> None:
    known = config.cameras.by_name
    if camera not in known:
        close = get_close_matches(camera, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        print(
            f"dropsight: --camera {camera}: the config has no crops and no mask of it{hint}", file=sys.stderr
        )


def camera_of(path: str | Path, config: Config) -> str | None:
    """Return whose picture a file is that lies in a folder of the config's, or was filed away there."""
    absolute = os.path.normpath(Path.cwd() / path)
    for watch in config.watch:
        for folder in (watch.processed, watch.failed, watch.path):
            below = os.fspath(folder) + os.sep
            if absolute.startswith(below):
                return naming(watch.camera)(absolute.removeprefix(below))
    return None
