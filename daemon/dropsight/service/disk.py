"""What it takes to have names, not only contents, survive a loss of power."""

import os


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Have the names in this folder on disk; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
