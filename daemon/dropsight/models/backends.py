"""Models by their path: found, told apart, and opened by the backend of their format."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from dropsight.errors import ModelError, NoSuchModelError
from dropsight.models.overrides import ModelOverrides
from dropsight.models.registry import format_of
from dropsight.models.spec import Model, ModelOptions

BUILTIN = "builtin:"
BUILTINS = {"efficientnet_lite0": "efficientnet_lite0_int8.tflite"}


def open_model(
    path: str | Path,
    *,
    said: ModelOverrides | None = None,
    options: ModelOptions | None = None,
    agree: Callable[[], None] = lambda: None,
) -> Model:
    """Open a model of any known format; raises ModelError naming path, fault and way out.

    `agree` is called once it is read, before its bytes are interpreted where the backend allows for it.
    """
    file = locate(path)
    return format_of(file).open(
        file, said=said or ModelOverrides(), options=options or ModelOptions(), agree=agree
    )


def open_first(
    paths: Sequence[str | Path],
    *,
    said: ModelOverrides | None = None,
    options: ModelOptions | None = None,
    trial: Callable[[str | Path], None] = lambda _: None,
) -> tuple[Model, list[str]]:
    """Open the first that can be loaded; return it with the reasons why those before it could not.

    `trial` is called before each that is there, and raises ModelError for one that is not to be opened.
    What it was called for is what is opened: ModelError where another came into its place meanwhile.
    Raises ModelError with one line per reason where none can.
    """
    refusals: list[ModelError] = []
    for path in paths:
        try:
            file = locate(path)
            format_of(file)
            agree = partial(_refuse_another, file, signatures(file))
            trial(path)
            opened = open_model(path, said=said, options=options, agree=agree)
            return opened, [str(error) for error in refusals]
        except ModelError as error:
            refusals.append(error)
    none_exists = all(isinstance(error, NoSuchModelError) for error in refusals)
    raise (NoSuchModelError if none_exists else ModelError)("\n".join(map(str, refusals)))


def _refuse_another(model: Path, tried: list[str]) -> None:
    if signatures(model) != tried:
        raise ModelError(
            f"{model}: it was replaced while it was being tested: try again when it no longer changes"
        )


def signatures(model: Path) -> list[str]:
    """Return what changes with every write to a model, one line per file."""
    files = sorted(each for each in model.rglob("*") if each.is_file()) if model.is_dir() else [model]
    return [signature(file) for file in files]


def signature(file: Path) -> str:
    try:
        stat = file.stat()
    except OSError:
        return f"{file} -"
    return f"{file} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def locate(path: str | Path) -> Path:
    """Return the path of a model, that of a bundled one for builtin:NAME."""
    text = str(path)
    if not text.startswith(BUILTIN):
        return Path(path)
    name = text.removeprefix(BUILTIN)
    if name not in BUILTINS:
        raise NoSuchModelError(f"{text}: no such model is bundled; there is {BUILTIN}{', '.join(BUILTINS)}")
    return Path(__file__).parent / "builtin" / BUILTINS[name]
