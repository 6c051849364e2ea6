"""Which backend a model is for: a detector and an opener a format, ours and those of other packages."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from dropsight.errors import DropsightError, ModelError, NoSuchModelError
from dropsight.models.overrides import ModelOverrides
from dropsight.models.spec import Model, ModelOptions, ModelSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "dropsight.backends"
HEAD_BYTES = 64
# A pipe that nobody writes to would be waited for.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Backend(msgspec.Struct, frozen=True):
    """Each "module:function", imported when it is needed: `detector` as Detector, `opener` as Opener."""

    detector: str
    opener: str


BACKENDS: dict[str, Backend] = {
    "tflite": Backend("dropsight.models.detecting:is_tflite", "dropsight.models.litert:open_tflite"),
    "keras": Backend("dropsight.models.detecting:is_keras", "dropsight.models.keras:open_keras"),
    "onnx": Backend("dropsight.models.detecting:is_onnx", "dropsight.models.onnx:open_onnx"),
    "saved_model": Backend(
        "dropsight.models.detecting:is_saved_model", "dropsight.models.savedmodel:open_saved_model"
    ),
}
"""By the name of the format; a new one is one file and one line here, or an entry point of GROUP.

The entry point's name is the format's, and what it loads is a Backend.
"""


class Detector(Protocol):
    def __call__(self, path: Path, head: bytes, /) -> bool:
        """Whether the format is this one, by the first HEAD_BYTES, of which a folder has none.

        It is asked of any file: it imports nothing heavy and reads no more than it must.
        """


class Opener(Protocol):
    def __call__(
        self, path: Path, *, said: ModelOverrides, options: ModelOptions, agree: Callable[[], None]
    ) -> Model:
        """Open a model; raises ModelError. The format in its spec is the name in the registry.

        `agree` is called once the file is read, before its bytes are interpreted where that is possible.
        """


class ModelFormat(msgspec.Struct, frozen=True):
    """`package`, with its version, is whose the backend is; None for ours."""

    name: str
    backend: Backend
    package: str | None = None

    @property
    def module(self) -> str:
        """What is imported to open it, without what is inside."""
        return self.backend.opener.partition(":")[0].partition(".")[0]

    def open(
        self, path: Path, *, said: ModelOverrides, options: ModelOptions, agree: Callable[[], None]
    ) -> Model:
        """Raises ModelError, also for whatever another package raises."""
        with self.blamed(path):
            opener: Opener = _load(self.backend.opener)
            model = opener(path, said=said, options=options, agree=agree)
            if self.package and not (isinstance(model.spec, ModelSpec) and model.spec.format == self.name):
                raise TypeError(f"its model's spec must be a ModelSpec of the format {self.name}")
            return model

    @contextmanager
    def blamed(self, path: Path) -> Iterator[None]:
        """Make whatever another package raises a ModelError that names it."""
        try:
            yield
        except DropsightError:
            raise
        except Exception as error:
            if self.package is None:
                raise
            raise ModelError(f"{path}: {_fault(self.name, self.package, error)}") from error


def format_of(path: Path) -> ModelFormat:
    """Ask the detectors, ours first; raises ModelError where none knows it."""
    head = _head(path)
    for name, backend in BACKENDS.items():
        detects: Detector = _load(backend.detector)
        if detects(path, head):
            return ModelFormat(name, backend)
    faults = []
    for entry in offered():
        package = _package(entry)
        try:
            backend = _backend(entry)
            detects = _load(backend.detector)
            known = detects(path, head)
        except Exception as error:  # noqa: BLE001 - another package's code may raise anything
            faults.append(_fault(entry.name, package, error))
            continue
        if known:
            return ModelFormat(entry.name, backend, package)
    told = "a folder without saved_model.pb is not a model"
    if not path.is_dir():
        is_empty = path.is_file() and not head
        told = "the file is empty" if is_empty else "not a model: its first bytes belong to no known format"
    raise ModelError("; ".join([f"{path}: {told}", *faults]))


def offered() -> "list[EntryPoint]":
    """Return the entry points of other packages, whose names are formats; none is loaded."""
    from importlib.metadata import entry_points  # takes longer than a start should

    return sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, _package(entry)))


def _backend(entry: "EntryPoint") -> Backend:
    if entry.name in BACKENDS:
        raise ValueError("dropsight has a backend of this name itself")
    backend = entry.load()
    if not isinstance(backend, Backend):
        raise TypeError(f"{entry.value} is not a dropsight.models.registry.Backend")
    return backend


def _package(entry: "EntryPoint") -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _fault(name: str, package: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    way_out = "upgrade or uninstall that package"
    return f"the backend {name} of {package} does not work: {type(error).__name__}: {reason}; {way_out}"


def _head(path: Path) -> bytes:
    if path.is_dir():
        return b""
    try:
        with os.fdopen(os.open(path, _READ), "rb") as file:
            return file.read(HEAD_BYTES) or b""  # None of a pipe that somebody holds open, and says nothing
    except FileNotFoundError as error:
        raise NoSuchModelError(
            f"{path}: no such model; give a .tflite file or builtin:efficientnet_lite0"
        ) from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def _load(place: str) -> Any:  # noqa: ANN401 - what the registry names
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)
