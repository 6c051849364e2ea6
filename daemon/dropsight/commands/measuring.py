"""Scores of labelled photos and clips, for `calibrate` and `evaluate`."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from dropsight.commands.mixed import looks_like_a_clip
from dropsight.errors import ConfigError, ImageError
from dropsight.inference.labelled import CLIPS, PHOTOS, Labelled, labelled
from dropsight.inference.predictor import Predictor
from dropsight.inference.runtime_options import ClipOptions
from dropsight.inference.video_runtime import VideoInferenceRuntime
from dropsight.names import as_shown

LABELLED = "with a sub-folder of photos for each class"


class Measured(msgspec.Struct, frozen=True):
    """Scores (n, classes), truth (n,) and paths of what could be read, in order; which of it are clips."""

    scores: NDArray[np.float32]
    truth: NDArray[np.int64]
    clips: NDArray[np.bool_]
    paths: NDArray[np.str_]


def measure(runtime: Predictor, folder: Path) -> Measured:
    """Return the model's own scores of every photo, before any temperature.

    What cannot be read is named on stderr; raises ConfigError if nothing can.
    """
    photos = labelled(folder, runtime.spec.labels)
    return _measured(folder, photos, _photos(runtime.scores, photos))


def measure_all(runtime: Predictor, folder: Path, sampling: ClipOptions) -> Measured:
    """Return the probabilities of every photo and every clip; what cannot be read is told as by `measure`."""
    files = labelled(folder, runtime.spec.labels, PHOTOS | CLIPS)
    return _measured(folder, files, _photos_and_clips(runtime, files, sampling))


_Answers: TypeAlias = Iterable[tuple[object, NDArray[np.float32] | ImageError]]
_Found: TypeAlias = Iterator[tuple[bool, NDArray[np.float32] | ImageError]]


def _measured(folder: Path, files: Sequence[Labelled], found: _Found) -> Measured:
    rows = []
    for file, (is_clip, outcome) in zip(files, found, strict=True):
        if isinstance(outcome, ImageError):
            print(as_shown(f"dropsight: {file.path}: {outcome}"), file=sys.stderr)
        else:
            rows.append((outcome, file.class_index, is_clip, file.path))
    if not rows:
        raise ConfigError([f"{folder}: none of its {len(files)} files can be read"])
    return Measured(*(np.array(column) for column in zip(*rows, strict=True)))


def _photos_and_clips(runtime: Predictor, files: Sequence[Labelled], sampling: ClipOptions) -> _Found:
    with VideoInferenceRuntime(images=runtime, **sampling) as videos:
        for are_clips, group in groupby(files, key=lambda each: looks_like_a_clip(each.path)):
            if are_clips:
                yield from ((True, _clip(videos, each.path)) for each in group)
                continue
            yield from _photos(runtime.probabilities, list(group))


def _photos(ask: Callable[..., _Answers], files: Sequence[Labelled]) -> _Found:
    found = ask([each.path for each in files], show_progress=sys.stderr.isatty())
    return ((False, outcome) for _, outcome in found)


def _clip(videos: VideoInferenceRuntime, path: str) -> NDArray[np.float32] | ImageError:
    try:
        return videos.answer(path).scores
    except FileNotFoundError:
        return ImageError("unreadable", "there is no such file")
    except ImageError as error:
        return error
