"""Model formats by the bytes at their path, and the backend of each, imported on demand."""

import zipfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from dropsight.errors import ModelError, NoSuchModelError
from dropsight.models.describing import Said
from dropsight.models.spec import Model

BACKENDS: dict[str, str] = {
    "tflite": "dropsight.models.litert:open_tflite",
    "keras": "dropsight.models.keras:open_keras",
    "saved_model": "dropsight.models.savedmodel:open_saved_model",
}
"""Format to "module:function" taking (path, said=, threads=); a new backend is one file and one line."""

BUILTIN = "builtin:"
BUILTINS = {"efficientnet_lite0": "efficientnet_lite0_int8.tflite"}
_HDF5 = b"\x89HDF\r\n\x1a\n"


def open_model(path: str | Path, *, said: Said | None = None, threads: int = 1) -> Model:
    """Open a model of any known format; raises ModelError naming path, fault and way out."""
    file = locate(path)
    kind = format_of(file)
    module, _, function = BACKENDS[kind].partition(":")
    opener: Callable[..., Model] = getattr(import_module(module), function)
    return opener(file, said=said or Said(), threads=threads)


def open_first(
    paths: Sequence[str | Path],
    *,
    said: Said | None = None,
    threads: int = 1,
    trial: Callable[[str | Path], None] = lambda _: None,
) -> tuple[Model, list[str]]:
    """Open the first that can be loaded; return it with the reasons why those before it could not.

    `trial` is called before each that is there, and raises ModelError for one that is not to be opened.
    Raises ModelError with a line a reason where none can.
    """
    refusals: list[ModelError] = []
    for path in paths:
        try:
            format_of(locate(path))
            trial(path)
            return open_model(path, said=said, threads=threads), [str(error) for error in refusals]
        except ModelError as error:
            refusals.append(error)
    none_exists = all(isinstance(error, NoSuchModelError) for error in refusals)
    raise (NoSuchModelError if none_exists else ModelError)("\n".join(map(str, refusals)))


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
