"""Photos and clips side by side: each by the runtime of its kind, in the order given."""

from collections.abc import Generator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Unpack

from dropsight.errors import DropsightError
from dropsight.images.opening import open_named
from dropsight.inference.predictor import Predictor
from dropsight.inference.results import ClipResult, ImageFailure, ImageResult
from dropsight.inference.runtime_options import ClipOptions
from dropsight.inference.video_runtime import VideoInferenceRuntime
from dropsight.video.sniffing import HEAD_BYTES, is_clip

Outcome = ImageResult | ClipResult | ImageFailure


def outcomes(
    paths: Sequence[str | Path],
    images: Predictor,
    *,
    batch_size: int = 32,
    **sampling: Unpack[ClipOptions],
) -> Generator[Outcome, None, None]:
    """Yield one result per file, as it is done; what cannot be read is left to the images' runtime to say."""
    with VideoInferenceRuntime(images=images, **sampling) as videos:
        # Of many files the heads are read as their turns come: the first answer waits for none of the others.
        for of_clips, group in groupby(paths, key=looks_like_a_clip):
            files = paths if len(paths) == 1 else group
            yield from videos.results(files) if of_clips else images.results(files, batch_size)


def looks_like_a_clip(path: str | Path) -> bool:
    try:
        with open_named(path) as file:
            return is_clip(file.head(HEAD_BYTES))
    except (OSError, DropsightError):
        return False
