"""Models by their path: found, told apart, and opened by the backend of their format."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dropsight.errors import ModelError, NoSuchModelError, UntriedError
from dropsight.models.onnx_weights import ENDINGS
from dropsight.models.overrides import ModelOverrides
from dropsight.models.registry import format_of
from dropsight.models.sidecar import sidecar_path
from dropsight.models.spec import Acceleration, Model, ModelOptions

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


class Opened(NamedTuple):
    """A model, why not those before it, and the device that computes it, or was to."""

    model: Model
    reasons: list[str]
    acceleration: Acceleration | None


Trial = Callable[[str | Path, ModelOptions], None]


def open_first(
    paths: Sequence[str | Path],
    *,
    said: ModelOverrides | None = None,
    options: ModelOptions | None = None,
    trial: Trial = lambda _, __: None,
) -> Opened:
    """Open the first that can be loaded, on the CPU where its device does not do.

    `trial` is called before each that is there, and raises ModelError for one that is not to be opened so.
    What it was called for is what is opened: ModelError where another came into its place meanwhile.
    Raises ModelError with one line per reason where none can; UntriedError where one could not be tested.
    """
    refusals: list[ModelError] = []
    for path in paths:
        try:
            model, acceleration = _on_its_device(path, said, options or ModelOptions(), trial)
            return Opened(model, [str(error) for error in refusals], acceleration)
        except UntriedError:
            raise
        except ModelError as error:
            refusals.append(error)
    none_exists = all(isinstance(error, NoSuchModelError) for error in refusals)
    raise (NoSuchModelError if none_exists else ModelError)(*map(str, refusals))


def _on_its_device(
    path: str | Path, said: ModelOverrides | None, options: ModelOptions, trial: Trial
) -> tuple[Model, Acceleration | None]:
    if options.device is None:
        return _tried(path, said, options, trial), None
    try:
        model = _tried(path, said, options, trial)
    except (NoSuchModelError, UntriedError):
        raise
    except ModelError as error:
        fault = Acceleration(options.device, fault=str(error))
        try:
            return _tried(path, said, options.on_the_cpu, trial), fault
        except ModelError as other:
            if str(other) == str(error):
                raise
            raise ModelError(f"{other}; {options.device} does not compute it: {error}") from other
    none = f"it computes no {model.spec.format} models"
    return model, model.spec.acceleration or Acceleration(options.device, fault=none)


def _tried(path: str | Path, said: ModelOverrides | None, options: ModelOptions, trial: Trial) -> Model:
    file = locate(path)
    format_of(file)
    agree = partial(_refuse_another, file, signatures(file))
    trial(path, options)
    return open_model(path, said=said, options=options, agree=agree)


def _refuse_another(model: Path, tried: list[str]) -> None:
    if signatures(model) != tried:
        raise ModelError(
            f"{model}: it was replaced while it was being tested: try again when it no longer changes"
        )


def signatures(model: Path) -> list[str]:
    """Return what changes with every write to a model, its sidecar, weights beside it: a line per file."""
    within = model.rglob("*") if model.is_dir() else model.resolve().parent.glob("*")
    parts = (each for each in within if model.is_dir() or each.name.endswith(ENDINGS))
    files = [model, sidecar_path(model), *sorted(each for each in parts if each.is_file())]
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
