"""Checks that paths on the command line exist and are of the right kind, before any work begins."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dropsight.commands.settings import is_there
from dropsight.errors import ConfigError, reason


def need_there(paths: Sequence[Path]) -> None:
    """Raise ConfigError with a line for each path that is not there."""
    faults = [f"{path}: there is no such file or folder" for path in paths if not is_there(path)]
    if faults:
        raise ConfigError(faults)


def need_images(paths: Sequence[Path], *, for_folders: str) -> None:
    """Raise ConfigError with a line for each that is not there or a folder, for which there is a way out."""
    faults = [f"{path}: there is no such file" for path in paths if not is_there(path)]
    faults += [f"{path}: a folder; {for_folders}" for path in paths if path.is_dir()]
    if faults:
        raise ConfigError(faults)


def need_folder(path: Path, holds: str) -> None:
    """Raise ConfigError for what is no folder; `holds` says which one is wanted."""
    if not is_there(path):
        raise ConfigError([f"{path}: there is no such folder"])
    if not path.is_dir():
        raise ConfigError([f"{path}: a file; give a folder {holds}"])


def need_place(path: Path) -> None:
    """Raise ConfigError for what no file can be written to."""
    if path.is_dir():
        raise ConfigError([f"{path}: a folder; name a file in it"])
    if not path.parent.is_dir():
        raise ConfigError([f"{path}: there is no folder {path.parent}"])


class Reserved:
    """A file to be written later, by a user who may not create it; empty, it is taken away again."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self._file = path, file

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()
        self._file.truncate()

    @property
    def is_empty(self) -> bool:
        return os.fstat(self._file.fileno()).st_size == 0


@contextmanager
def reserved(path: Path) -> Iterator[Reserved]:
    """Open it for writing, what it holds is kept until then; raises ConfigError where that cannot be."""
    need_place(path)
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644), "wb")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written: {reason(error)}"]) from error
    with file:
        found = Reserved(path, file)
        try:
            yield found
        finally:
            if found.is_empty:
                with suppress(OSError):
                    path.unlink()
