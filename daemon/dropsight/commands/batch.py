"""`dropsight batch`."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dropsight.config import Watch
from dropsight.errors import ConfigError
from dropsight.inference.results import ImageFailure, ImageResult
from dropsight.inference.runtime import DEFAULT_MODEL, ImageInferenceRuntime
from dropsight.service.dropfolder import DropFolder


def batch(paths: Sequence[Path], output: Path, *, model: str | None, tta: bool, batch_size: int) -> int:
    """Write the results; return 1 if every image failed, 130 after Ctrl-C."""
    images = [image for path in paths for image in _images(path)]
    if not images:
        raise ConfigError([f"no images in {', '.join(map(str, paths))}"])
    if not output.parent.is_dir():
        raise ConfigError([f"-o {output}: there is no folder {output.parent}"])
    runtime = ImageInferenceRuntime(model or DEFAULT_MODEL, use_tta=tta)
    results: list[ImageResult | ImageFailure] = []
    started = time.perf_counter()
    stopped = False
    try:
        results.extend(runtime.results(images, batch_size, show_progress=sys.stderr.isatty()))
    except KeyboardInterrupt:
        stopped = True
    summary = runtime.summarize(results, total_ms=(time.perf_counter() - started) * 1e3)
    summary.write(output)
    failed = sum(isinstance(result, ImageFailure) for result in results)
    print(
        f"{len(results)} of {len(images)} images in {summary.total_time_ms / 1e3:.1f} s, "
        f"{summary.avg_time_per_image_ms:.1f} ms each; {failed} failed; written to {output}"
    )
    return 130 if stopped else int(failed == len(images))


def _images(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield from sorted(DropFolder.open(Watch(path=path)).images())
    else:
        yield str(path)
