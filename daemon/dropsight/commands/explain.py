"""`dropsight explain`."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, Unpack

import msgspec

from dropsight import names
from dropsight.commands.as_daemon import Classifying
from dropsight.commands.mixed import looks_like_a_clip
from dropsight.commands.places import need_images, need_place
from dropsight.errors import ConfigError, DropsightError, ImageError
from dropsight.explain.explaining import METHODS, Explainer, Explanation, Method
from dropsight.explain.figures import check_figure, side_by_side
from dropsight.images.framing import Pixels, Place
from dropsight.images.opening import open_named
from dropsight.inference.clips import ClipSettings, classify_clip, frame_at
from dropsight.inference.pipeline import parts_of, pixels_of, read
from dropsight.inference.planning import Plan
from dropsight.inference.runtime_options import ClipOptions
from dropsight.inference.seen import seen_parts
from dropsight.inference.video_runtime import checked
from dropsight.models.spec import Model, ModelSpec
from dropsight.records import Kind
from dropsight.video.decoder import ClipBounds, ClipDecoder


class Subject(NamedTuple):
    """A picture to explain; of a clip, the frame that shows so many seconds after its first."""

    pixels: Pixels
    seconds: float | None = None


class ExplainedClass(msgspec.Struct, frozen=True):
    class_index: int = msgspec.field(name="class")
    label: str
    confidence: float


class Explained(msgspec.Struct, frozen=True):
    """`seconds`: of a clip, when the frame shows that was explained, from the first."""

    image_path: str
    kind: Kind
    seconds: float | msgspec.UnsetType
    model: str
    method: Method
    classes: list[ExplainedClass]
    figure: str


def explain(  # noqa: PLR0913 - each is an option of its own
    image: Path,
    output: Path,
    *,
    file: Path | None = None,
    camera: str | None = None,
    model: str | None,
    method: str | None,
    layer: str | None,
    class_index: int | None,
    top: int,
    as_json: bool,
    **sampling: Unpack[ClipOptions],
) -> None:
    """Write the figure, of a clip's surest frame; raises DropsightError."""
    if class_index is not None and top > 1:
        raise ConfigError(["--class and --top: give one of them"])
    wanted = _method(method)
    need_images([image], for_folders="give one image")
    need_place(output)
    check_figure(output)
    classes = [] if class_index is None else [class_index]
    runtime = Classifying(file, camera, model=model, tta=False).of(image)
    with runtime.interpreter() as opened:
        explainer = Explainer(
            opened,
            wanted,
            layer_name=layer,
            temperature=runtime.plan.inference.temperature,
            show_progress=sys.stderr.isatty(),
        )
        explainer.check_classes(classes)
        subject = _subject(image, opened, runtime.plan, class_index, sampling)
        parts = parts_of(subject.pixels, runtime.plan)
        framed = explainer.surest([square for part in parts for square in part], *classes[:1])
        found = explainer.explain_framed(framed, classes, top=top)
    moment = "" if subject.seconds is None else f" at {subject.seconds:.1f} s"
    title = f"{image.name}{moment}, {runtime.spec.name}"
    seen = _seen(subject.pixels, parts, framed, runtime.plan)
    shown = runtime.plan.sight.shown(subject.pixels) if runtime.plan.sight else subject.pixels
    side_by_side(output, found, title=title, photo=(shown, seen))
    if as_json:
        _print_json(_explained(image, subject, runtime.spec, found, output))
        return
    for each in found:
        print(f"{each.label} ({each.class_index}) {each.confidence:.1%} by {each.method}{moment}: {output}")


def _print_json(said: Explained) -> None:
    sys.stdout.buffer.write(msgspec.json.format(names.as_json(said), indent=2) + b"\n")


def _explained(
    image: Path, subject: Subject, spec: ModelSpec, found: Sequence[Explanation], output: Path
) -> Explained:
    return Explained(
        str(image),
        "image" if subject.seconds is None else "clip",
        msgspec.UNSET if subject.seconds is None else subject.seconds,
        spec.name,
        found[0].method,
        [ExplainedClass(each.class_index, each.label, round(each.confidence, 6)) for each in found],
        str(output),
    )


def _method(name: str | None) -> Method | None:
    known = {str(method): method for method in METHODS}
    if name is not None and name not in known:
        raise ConfigError([f"--method {name}: give one of {', '.join(known)}"])
    return known[name] if name else None


def _seen(pixels: Pixels, parts: Sequence[Sequence[Pixels]], explained: Pixels, plan: Plan) -> Place:
    """Return the rows and columns that the model sees, of several parts and squares those explained."""
    return next(
        place
        for part, squares in zip(seen_parts(plan, pixels.shape[1], pixels.shape[0]), parts, strict=True)
        for place, square in zip(part.squares, squares, strict=True)
        if square is explained
    )


def _subject(path: Path, model: Model, plan: Plan, class_index: int | None, sampling: ClipOptions) -> Subject:
    try:
        if looks_like_a_clip(path):
            return _of_clip(path, model, plan, class_index, sampling)
        return Subject(_of_photo(path, plan))
    except ImageError as error:
        raise DropsightError(f"{path}: {error}") from error


def _of_clip(path: Path, model: Model, plan: Plan, class_index: int | None, sampling: ClipOptions) -> Subject:
    """Return the frame that shows the clip's answer most surely, or the class that is asked for."""
    settings = checked(ClipSettings(**sampling))
    with ClipDecoder(ClipBounds()) as decoder, open_named(path) as file:
        answer = classify_clip(file, decoder, plan, settings, lambda: nullcontext(model))
        seconds = answer.clip.peak.time
        if class_index is not None:
            seconds = answer.times[int(answer.rows[:, class_index].argmax())]
        return Subject(frame_at(file, decoder, seconds), seconds)


def _of_photo(path: Path, plan: Plan) -> Pixels:
    with open_named(path) as file:
        data, header = read(file, plan)
    return pixels_of(data, header, plan).pixels
