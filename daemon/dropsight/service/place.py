"""Files below a folder, reached without following a link, however deep they lie."""

import os
import stat as kinds
from pathlib import Path
from types import TracebackType
from typing import Self

from dropsight.errors import is_passing

_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Place:
    """For one thread. Raises OSError where the folder itself cannot be opened, or is a link."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._top = os.open(path, _FLAGS)
        self._inner_name, self._inner = b"", self._top

    def stat(self, name: bytes) -> os.stat_result | None:
        """None where nothing is there, a folder, or a link on the way; raises OSError of a disk's fault."""
        try:
            found = os.stat(os.path.basename(name), dir_fd=self._folder_of(name), follow_symlinks=False)
        except OSError as error:
            if is_passing(error):
                raise
            return None
        return None if kinds.S_ISDIR(found.st_mode) else found

    def unlink(self, name: bytes) -> None:
        os.unlink(os.path.basename(name), dir_fd=self._folder_of(name))

    def _folder_of(self, name: bytes) -> int:
        """The last one stays open: neighbours come one after the other."""
        wanted = os.path.dirname(name)
        if wanted == self._inner_name:
            return self._inner
        self._close_inner()
        folder = self._top
        for part in wanted.split(b"/") if wanted else ():
            try:
                inner = os.open(part, _FLAGS, dir_fd=folder)
            finally:
                if folder != self._top:
                    os.close(folder)
            folder = inner
        self._inner_name, self._inner = wanted, folder
        return folder

    def _close_inner(self) -> None:
        if self._inner != self._top:
            os.close(self._inner)
        self._inner_name, self._inner = b"", self._top

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_inner()
        os.close(self._top)
