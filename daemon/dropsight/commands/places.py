"""Checks that paths on the command line exist and are of the right kind, before any work begins."""

from collections.abc import Sequence
from pathlib import Path

from dropsight.errors import ConfigError


def need_there(paths: Sequence[Path]) -> None:
    """Raise ConfigError with a line for each path that is not there."""
    faults = [f"{path}: there is no such file or folder" for path in paths if not _is_there(path)]
    if faults:
        raise ConfigError(faults)


def need_images(paths: Sequence[Path], *, for_folders: str) -> None:
    """Raise ConfigError with a line for each that is not there or a folder, for which there is a way out."""
    faults = [f"{path}: there is no such file" for path in paths if not _is_there(path)]
    faults += [f"{path}: a folder; {for_folders}" for path in paths if path.is_dir()]
    if faults:
        raise ConfigError(faults)


def need_folder(path: Path, holds: str) -> None:
    """Raise ConfigError for what is no folder; `holds` says which one is wanted."""
    if not _is_there(path):
        raise ConfigError([f"{path}: there is no such folder"])
    if not path.is_dir():
        raise ConfigError([f"{path}: a file; give a folder {holds}"])


def need_place(path: Path) -> None:
    """Raise ConfigError for what no file can be written to."""
    if path.is_dir():
        raise ConfigError([f"{path}: a folder; name a file in it"])
    if not path.parent.is_dir():
        raise ConfigError([f"{path}: there is no folder {path.parent}"])


def _is_there(path: Path) -> bool:
    """What cannot be looked at may well be there: opening it tells."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
