"""`dropsight batch`."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Unpack

from dropsight.commands.as_daemon import Classifying
from dropsight.commands.interrupts import stop_asked
from dropsight.commands.places import need_place, need_there
from dropsight.config import Watch
from dropsight.errors import ConfigError, DropsightError, reason
from dropsight.inference.batch_file import BatchFile
from dropsight.inference.runtime_options import ClipOptions
from dropsight.intake.folder import DropFolder
from dropsight.video.sniffing import CLIP_PATTERNS


def batch(
    paths: Sequence[Path],
    output: Path,
    *,
    file: Path | None = None,
    camera: str | None = None,
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
    classifying = Classifying(file, camera, model=model, tta=tta)
    started = time.perf_counter()
    show_progress = sys.stderr.isatty()
    made = classifying.outcomes(images, batch_size=batch_size, show_progress=show_progress, **sampling)
    with stop_asked() as stop, closing(made), _written(output) as written:
        with suppress(KeyboardInterrupt):
            for result in made:
                written.add(result)
                if stop.is_set():
                    break
        total_ms = (time.perf_counter() - started) * 1e3
        summary = classifying.runtime.summarize((), total_ms=total_ms, count=written.count)
        written.finish(summary)
    print(
        f"{written.count} of {len(images)} images in {summary.total_time_ms / 1e3:.1f} s, "
        f"{summary.avg_time_per_image_ms:.1f} ms each; {written.failed} failed; written to {output}"
        f"{', with the error of each' if written.failed else ''}"
    )
    return 130 if stop.is_set() else int(written.failed == len(images))


@contextmanager
def _written(output: Path) -> Iterator[BatchFile]:
    try:
        with BatchFile(output) as file:
            yield file
    except OSError as error:
        raise DropsightError(f"-o {output}: cannot be written: {reason(error)}") from error


def _images(path: Path) -> Iterator[str]:
    if path.is_dir():
        patterns, nowhere = (*Watch().patterns, *CLIP_PATTERNS), path / ".nowhere"
        watch = Watch(path=path, patterns=patterns, processed=nowhere, failed=nowhere)
        yield from sorted(DropFolder.open(watch).images())
    else:
        yield str(path)
