"""Which models were opened without a crash before: others are tested in a separate process first."""

import contextlib
import logging
import os
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.children import WorkingTime
from dropsight.errors import ModelError
from dropsight.models.backends import Trial, locate, signature, signatures
from dropsight.models.isolated import try_model
from dropsight.models.overrides import ModelOverrides
from dropsight.models.registry import format_of
from dropsight.models.spec import ModelOptions

log = logging.getLogger(__name__)

_RUNTIMES = ("ai_edge_litert", "tflite_runtime", "tensorflow", "keras", "numpy")
_MOST = 32


class ProvedModels:
    """One line per model in a file; without one, every model is tried.

    A model's line is away while it is opened: one that ends the process is tried at the next start. With
    a device it is tried at every start, for the device may be another or be taken, and has a line while it
    is opened: what passed its trial and ended the process is not opened so at the next start.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._opening: str | None = None
        self._begun: str | None = None

    def trial(self, said: ModelOverrides, *, looked: Callable[[WorkingTime], None] = lambda _: None) -> Trial:
        """Return what is to be called before a model is opened; raises ModelError.

        `looked` is called each second while a separate process tries one.
        """

        def tried(path: str | Path, options: ModelOptions) -> None:
            model = locate(path)
            key = _key(model, options)
            self._forget(self._begun)  # it was refused, and ended nothing
            self._opening = self._begun = None
            known = key in self._lines()
            self._forget(key)
            if known and options.device:
                raise ModelError("the daemon ended while it opened the model there; restart it to try again")
            if not known:
                log.debug("%s is tested in a separate process first", model)
                try_model(model, said=said, options=options, looked=looked)
            if options.device:
                self._begun = key
                self._write([*self._lines(), key])
            else:
                self._opening = key

        return tried

    def passed(self) -> None:
        """Note the model that was tried last: it is open, and has answered."""
        self._forget(self._begun)
        if self._opening:
            self._write([*self._lines(), self._opening][-_MOST:])

    def _forget(self, key: str | None) -> None:
        known = self._lines()
        if key in known:
            self._write([line for line in known if line != key])

    def _lines(self) -> list[str]:
        try:
            noted = read_bounded(self._file, STATE_BYTES) if self._file else b""
        except OSError:
            return []
        return noted.decode("utf-8", "replace").split()

    def _write(self, lines: list[str]) -> None:
        if self._file is None:
            return
        part = self._file.with_name(f"{self._file.name}.part")
        with contextlib.suppress(OSError):  # then it is tried again, no more
            part.write_text("\n".join(lines))
            part.replace(self._file)


def _key(model: Path, options: ModelOptions) -> str:
    """Return what changes with every write to the model, and with what opens it."""
    form = format_of(model)
    facts = [str(options), os.uname().machine, form.package or "", *signatures(model)]
    origins = (found.origin for name in (*_RUNTIMES, form.module) if (found := find_spec(name)))
    facts += [signature(Path(origin)) for origin in origins if origin]
    return sha256("\n".join(facts).encode(errors="surrogateescape")).hexdigest()
