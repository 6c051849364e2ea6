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
    show_progress: bool = False,
    **sampling: Unpack[ClipOptions],
) -> Generator[Outcome, None, None]:
    """Yield one result per file, as it is done; what cannot be read is left to the images' runtime to say."""
    with VideoInferenceRuntime(images=images, **sampling) as videos:
        for of_clips, group in groupby(paths, key=looks_like_a_clip):
            files = list(group)
            if of_clips:
                yield from videos.results(files, show_progress=show_progress)
            else:
                yield from images.results(files, batch_size, show_progress=show_progress)


def looks_like_a_clip(path: str | Path) -> bool:
    try:
        with open_named(path) as file:
            return is_clip(file.head(HEAD_BYTES))
    except (OSError, DropsightError):
        return False
