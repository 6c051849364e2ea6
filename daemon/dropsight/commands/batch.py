"""`dropsight batch`."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Unpack

from dropsight.commands.interrupts import stop_asked
from dropsight.commands.mixed import Outcome, outcomes
from dropsight.commands.places import need_place, need_there
from dropsight.config import Watch
from dropsight.errors import ConfigError, DropsightError, reason
from dropsight.inference.demands import ClipOptions
from dropsight.inference.results import ImageFailure
from dropsight.inference.runtime import DEFAULT_MODEL, ImageInferenceRuntime
from dropsight.intake.folder import DropFolder
from dropsight.video.sniffing import CLIP_PATTERNS


def batch(
    paths: Sequence[Path],
    output: Path,
    *,
    model: str | None,
    tta: bool,
    batch_size: int,
    **sampling: Unpack[ClipOptions],
) -> int:
    """Write the results; return 1 if every image failed, 130 after Ctrl-C."""
    need_there(paths)
    need_place(output)
    images = [image for path in paths for image in _images(path)]
    if not images:
        raise ConfigError([f"no images in {', '.join(map(str, paths))}"])
    runtime = ImageInferenceRuntime(model or DEFAULT_MODEL, use_tta=tta)
    results: list[Outcome] = []
    started = time.perf_counter()
    show_progress = sys.stderr.isatty()
    made = outcomes(images, runtime, batch_size=batch_size, show_progress=show_progress, **sampling)
    with stop_asked() as stop, suppress(KeyboardInterrupt), closing(made):
        for result in made:
            results.append(result)
            if stop.is_set():
                break
    summary = runtime.summarize(results, total_ms=(time.perf_counter() - started) * 1e3)
    try:
        summary.write(output)
    except OSError as error:
        raise DropsightError(f"-o {output}: cannot be written: {reason(error)}") from error
    failed = sum(isinstance(result, ImageFailure) for result in results)
    print(
        f"{len(results)} of {len(images)} images in {summary.total_time_ms / 1e3:.1f} s, "
        f"{summary.avg_time_per_image_ms:.1f} ms each; {failed} failed; written to {output}"
        f"{', with the error of each' if failed else ''}"
    )
    return 130 if stop.is_set() else int(failed == len(images))


def _images(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield from sorted(
            DropFolder.open(Watch(path=path, patterns=(*Watch().patterns, *CLIP_PATTERNS))).images()
        )
    else:
        yield str(path)
