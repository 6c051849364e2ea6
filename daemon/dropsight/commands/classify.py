"""`dropsight classify`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dropsight import names
from dropsight.commands.places import need_images
from dropsight.inference.results import ImageFailure, ImageResult
from dropsight.inference.runtime import DEFAULT_MODEL, ImageInferenceRuntime
from dropsight.names import as_shown


def classify(images: Sequence[Path], *, model: str | None, tta: bool, top: int, as_json: bool) -> int:
    """Print one line per image as it is done; return 1 if any could not be read."""
    need_images(images, for_folders="dropsight batch FOLDER -o results.json takes the images in it")
    runtime = ImageInferenceRuntime(model or DEFAULT_MODEL, use_tta=tta, top_k=max(top, 5))
    results: list[ImageResult | ImageFailure] = []
    for result in runtime.results(images):
        results.append(result)
        if not as_json:
            _print(result, top)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(names.as_json(results), indent=2) + b"\n")
    return 1 if any(isinstance(result, ImageFailure) for result in results) else 0


def _print(result: ImageResult | ImageFailure, top: int) -> None:
    if isinstance(result, ImageFailure):
        print(
            f"dropsight: {as_shown(str(result.image_path))}: {as_shown(result.error.message)}",
            file=sys.stderr,
        )
        return
    shown = [each for each in result.predictions[:top] if round(each.confidence, 3) > 0]
    for number, each in enumerate(shown or result.predictions[:1]):
        name = as_shown(str(result.image_path)) if number == 0 else ""
        print(f"{name:<30} {each.confidence:7.1%}  {each.label}", flush=True)
    for head, answer in list((result.heads or {}).items())[1:]:
        print(f"{'':<30} {answer.confidence:7.1%}  {answer.label} ({head})", flush=True)
