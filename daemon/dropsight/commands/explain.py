"""`dropsight explain`."""

import sys
from pathlib import Path

from dropsight.commands.places import need_images, need_place
from dropsight.errors import ConfigError, DropsightError, ImageError
from dropsight.explain.explaining import METHODS, Explainer, Method
from dropsight.explain.figures import check_figure, side_by_side
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels, crop_box
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds, open_named
from dropsight.models.backends import open_model
from dropsight.models.spec import ModelSpec

DEFAULT_MODEL = "builtin:efficientnet_lite0"


def explain(
    image: Path,
    output: Path,
    *,
    model: str | None,
    method: str | None,
    layer: str | None,
    class_index: int | None,
    top: int,
) -> None:
    """Write the figure; raises DropsightError."""
    if class_index is not None and top > 1:
        raise ConfigError(["--class and --top: give one of them"])
    wanted = _method(method)
    need_images([image], for_folders="give one image")
    need_place(output)
    check_figure(output)
    opened = open_model(model or DEFAULT_MODEL)
    explainer = Explainer(opened, wanted, layer_name=layer, show_progress=sys.stderr.isatty())
    pixels = _pixels(image, explainer.spec)
    classes = [] if class_index is None else [class_index]
    found = explainer.explain(pixels, classes=classes, top=top)
    seen = _seen(pixels, explainer.spec)
    side_by_side(output, found, title=f"{image.name}, {explainer.spec.name}", photo=(pixels, seen))
    for each in found:
        print(f"{each.label} ({each.class_index}) {each.confidence:.1%} by {each.method}: {output}")


def _method(name: str | None) -> Method | None:
    known = {str(method): method for method in METHODS}
    if name is not None and name not in known:
        raise ConfigError([f"--method {name}: give one of {', '.join(known)}"])
    return known[name] if name else None


def _seen(pixels: Pixels, spec: ModelSpec) -> tuple[slice, slice]:
    """Return the rows and columns that the model sees."""
    if spec.framing.resize != "crop":
        return slice(0, pixels.shape[0]), slice(0, pixels.shape[1])
    return crop_box(pixels, aspect=spec.width / spec.height, fraction=spec.framing.central)


def _pixels(path: Path, spec: ModelSpec) -> Pixels:
    try:
        with open_named(path) as file:
            data = file.read(Bounds())
        header = read_header(data)
        check_bounds(header, Bounds())
        return decode(
            data,
            header,
            at_least=(spec.height, spec.width),
            how=spec.framing.resize,
            crop_fraction=spec.framing.central,
        )
    except ImageError as error:
        raise DropsightError(f"{path}: {error}") from error
