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
    pixels = _pixels(image, at_least=(explainer.spec.height, explainer.spec.width))
    classes = [] if class_index is None else [class_index]
    found = explainer.explain(pixels, classes=classes, top=top)
    seen = crop_box(pixels, aspect=explainer.spec.width / explainer.spec.height)
    side_by_side(output, found, title=f"{image.name}, {explainer.spec.name}", photo=(pixels, seen))
    for each in found:
        print(f"{each.label} ({each.class_index}) {each.confidence:.1%} by {each.method}: {output}")


def _method(name: str | None) -> Method | None:
    known = {str(method): method for method in METHODS}
    if name is not None and name not in known:
        raise ConfigError([f"--method {name}: give one of {', '.join(known)}"])
    return known[name] if name else None


def _pixels(path: Path, *, at_least: tuple[int, int]) -> Pixels:
    try:
        with open_named(path) as file:
            data = file.read(Bounds())
        header = read_header(data)
        check_bounds(header, Bounds())
        return decode(data, header, at_least=at_least, how="crop")
    except ImageError as error:
        raise DropsightError(f"{path}: {error}") from error
