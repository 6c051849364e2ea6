"""The folders of the config: made, and tried before anything depends on them."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dropsight.config import Config
from dropsight.errors import ConfigError, StoreError, is_passing, reason
from dropsight.service.dropfolder import DropFolder

log = logging.getLogger(__name__)


def open_folders(config: Config) -> list[DropFolder]:
    """Make what is missing; raises ConfigError with a line for each folder that cannot be used.

    Raises StoreError where that may pass by itself.
    """
    faults = [fault for key, path, writes in _needed(config) if (fault := _fault(key, path, writes=writes))]
    texts = [text for text, _ in faults]
    if faults:
        passes = all(is_passing(error) for _, error in faults)
        raise StoreError("; ".join(texts)) if passes else ConfigError(texts)
    ours = (config.log.path.parent, config.store.path.parent)
    return [DropFolder.open(watch, ours=ours) for watch in config.watch]


@contextmanager
def sole_watcher(folder: DropFolder) -> Iterator[None]:
    """Hold the folder's lock; raises ConfigError where another dropsight watches it.

    A file system that knows no locks on folders (network shares) is trusted.
    """
    fd = os.open(folder.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError([f"watch: {folder.root} is watched by another dropsight already"]) from None
        except OSError as error:
            log.debug("%s cannot be locked: %s", folder.root, error)
        yield
    finally:
        os.close(fd)


def _needed(config: Config) -> Iterator[tuple[str, Path, bool]]:
    for number, watch in enumerate(config.watch):
        yield f"watch.{number}.path", watch.path, watch.after != "keep"
        if watch.after != "keep":
            yield f"watch.{number}.failed", watch.failed, True
        if watch.after == "move":
            yield f"watch.{number}.processed", watch.processed, True
    yield "log.path", config.log.path.parent, True
    yield "store.path", config.store.path.parent, True


def _fault(key: str, path: Path, *, writes: bool) -> tuple[str, OSError] | None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with os.scandir(path):
            pass
        if writes:
            # Nameless: a file with a name would be an arrival.
            with tempfile.TemporaryFile(dir=path):
                pass
    except OSError as error:
        return f"{key}: {path} cannot be {'written' if writes else 'read'}: {reason(error)}", error
    return None
