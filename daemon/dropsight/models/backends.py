"""Model formats by the bytes at their path, and the backend of each, imported on demand."""

import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from dropsight.errors import ModelError, NoSuchModelError
from dropsight.models.describing import ModelOverrides
from dropsight.models.spec import Model

BACKENDS: dict[str, str] = {
    "tflite": "dropsight.models.litert:open_tflite",
    "keras": "dropsight.models.keras:open_keras",
    "saved_model": "dropsight.models.savedmodel:open_saved_model",
}
"""Format to "module:function" as open_model, of a Path; a new backend is one file and one line."""

BUILTIN = "builtin:"
BUILTINS = {"efficientnet_lite0": "efficientnet_lite0_int8.tflite"}
_HDF5 = b"\x89HDF\r\n\x1a\n"


def open_model(
    path: str | Path,
    *,
    said: ModelOverrides | None = None,
    threads: int = 1,
    agree: Callable[[], None] = lambda: None,
) -> Model:
    """Open a model of any known format; raises ModelError naming path, fault and way out.

    `agree` is called once it is read, before its bytes are interpreted where the backend allows for it.
    """
    file = locate(path)
    kind = format_of(file)
    module, _, function = BACKENDS[kind].partition(":")
    opener: Callable[..., Model] = getattr(import_module(module), function)
    return opener(file, said=said or ModelOverrides(), threads=threads, agree=agree)


def open_first(
    paths: Sequence[str | Path],
    *,
    said: ModelOverrides | None = None,
    threads: int = 1,
    trial: Callable[[str | Path], None] = lambda _: None,
) -> tuple[Model, list[str]]:
    """Open the first that can be loaded; return it with the reasons why those before it could not.

    `trial` is called before each that is there, and raises ModelError for one that is not to be opened.
    What it was called for is what is opened: ModelError where another came into its place meanwhile.
    Raises ModelError with a line a reason where none can.
    """
    refusals: list[ModelError] = []
    for path in paths:
        try:
            file = locate(path)
            format_of(file)
            agree = partial(_refuse_another, file, signatures(file))
            trial(path)
            opened = open_model(path, said=said, threads=threads, agree=agree)
            return opened, [str(error) for error in refusals]
        except ModelError as error:
            refusals.append(error)
    none_exists = all(isinstance(error, NoSuchModelError) for error in refusals)
    raise (NoSuchModelError if none_exists else ModelError)("\n".join(map(str, refusals)))


def _refuse_another(model: Path, tried: list[str]) -> None:
    if signatures(model) != tried:
        raise ModelError(f"{model}: it was replaced while it was tried: try again when it stays as it is")


def signatures(model: Path) -> list[str]:
    """Return what changes with every write to a model, a line a file."""
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


def format_of(path: Path) -> str:
    """Tell tflite, keras or saved_model from the first bytes, never from the name."""
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise ModelError(f"{path}: a folder without saved_model.pb is no model")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError as error:
        raise NoSuchModelError(
            f"{path}: no such model; give a .tflite file or {BUILTIN}efficientnet_lite0"
        ) from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if head[4:8] == b"TFL3":
        return "tflite"
    if head == _HDF5 or (head.startswith(b"PK") and _is_keras(path)):
        return "keras"
    raise ModelError(f"{path}: not a model: its first bytes belong to no known format")


def _is_keras(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "config.json" in archive.namelist()
    except zipfile.BadZipFile:
        return False
