"""`dropsight classify`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Unpack

import msgspec

from dropsight import names
from dropsight.commands.as_daemon import Classifying
from dropsight.commands.mixed import Outcome, looks_like_a_clip
from dropsight.commands.places import need_images, need_place
from dropsight.errors import ConfigError
from dropsight.inference.predictor import Predictor
from dropsight.inference.results import ClipResult, ImageFailure, ImageResult
from dropsight.inference.runtime_options import ClipOptions
from dropsight.inference.video_runtime import VideoInferenceRuntime
from dropsight.names import as_shown
from dropsight.records import in_words, shown_confidence, shown_label


def classify(  # noqa: PLR0913 - each is an option of its own
    images: Sequence[Path],
    *,
    file: Path | None,
    camera: str | None,
    model: str | None,
    tta: bool,
    top: int,
    timeline: bool,
    figure: Path | None,
    as_json: bool,
    **sampling: Unpack[ClipOptions],
) -> int:
    """Print one line per image or clip as it is done; return 1 if any could not be read."""
    need_images(images, for_folders="dropsight batch FOLDER -o results.json takes the images in it")
    _need_a_clip(images, timeline=timeline, figure=figure)
    classifying = Classifying(file, camera, model=model, tta=tta, top=max(top, 5))
    results: list[Outcome] = []
    made: Iterator[Outcome]
    if figure:
        made = _drawn(images[0], classifying.of(images[0]), figure, sampling)
    else:
        made = classifying.outcomes(images, **sampling)
    for result in made:
        results.append(result)
        if not as_json:
            _print(result, top)
            if timeline and isinstance(result, ClipResult):
                _print_timeline(result)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(names.as_json(results), indent=2) + b"\n")
    return 1 if any(isinstance(result, ImageFailure) for result in results) else 0


def _need_a_clip(images: Sequence[Path], *, timeline: bool, figure: Path | None) -> None:
    clips = [looks_like_a_clip(path) for path in images]
    if timeline and not any(clips):
        raise ConfigError(["--timeline: give a clip; photos have no timeline"])
    if figure is not None:
        if clips != [True]:
            raise ConfigError(["--figure: give one clip"])
        need_place(figure)


def _drawn(clip: Path, runtime: Predictor, figure: Path, sampling: ClipOptions) -> Iterator[ClipResult]:
    from dropsight.explain.timeline import draw

    with VideoInferenceRuntime(images=runtime, **sampling) as videos:
        result, film = videos.predict_with_film(clip)
    draw(figure, result, film)
    yield result


def _print(result: Outcome, top: int) -> None:
    if isinstance(result, ImageFailure):
        _tell(f"{as_shown(str(result.image_path))}: {as_shown(result.error.message)}")
        return
    for number, (sure, text) in enumerate(_lines(result, top)):
        name = as_shown(str(result.image_path)) if number == 0 else ""
        print(f"{name:<30} {sure:7.1%}  {text}", flush=True)
    if result.warnings:
        told = "; ".join(result.warnings)
        _tell(f"{as_shown(str(result.image_path))}: warning: {told}")
    for region in result.regions or []:
        print(f"{'':<30} {shown_confidence(region):7.1%}  {shown_label(region)} ({region.name})", flush=True)
    for head, answer in list((result.heads or {}).items())[1:]:
        told = in_words(answer.label, answer.present)
        print(f"{'':<30} {answer.confidence:7.1%}  {told} ({head})", flush=True)


def _lines(result: ImageResult, top: int) -> list[tuple[float, str]]:
    """Return how sure it is of what: of a group first, then of classes."""
    likely, there = result.predictions[:top], result.present or []
    rows = [*likely, *(each for each in there if each not in likely)]
    shown = [each for each in rows if round(each.confidence, 3) > 0] or result.predictions[:1]
    classes = [(each.confidence, f"{each.label}{'  present' if each in there else ''}") for each in shown]
    if result.group or result.would_be:
        named = (shown_confidence(result), shown_label(result))
        return [named, *((sure, f"  {text}") for sure, text in classes)]
    return classes


def _tell(text: str) -> None:
    from dropsight.models.tflite_runtimes import STDERR_TURNED

    with STDERR_TURNED:  # another thread may be making an interpreter
        print(f"dropsight: {text}", file=sys.stderr)


def _print_timeline(result: ClipResult) -> None:
    clip = result.clip
    print(
        f"  {clip.duration:.1f} s of {clip.codec} {clip.width}x{clip.height}; "
        f"frames classified: {clip.frames_classified} ({clip.sampling}); surest at {clip.peak.time:.1f} s"
    )
    for each in clip.segments:
        print(f"  {each.begins:8.1f} to {each.ends:6.1f} s {each.peak:7.1%}  {each.label}")
