"""What files of secrets and certificates held when they were read last, for a start after a reload."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

from dropsight.errors import ConfigError

T = TypeVar("T")


class LastRead:
    """Of a process, over all its reloads: kept are the config in force and the one that is to come.

    `faults` are those of the last start, which went on with what was read before.
    """

    def __init__(self) -> None:
        self._in_force, self._coming = dict[Hashable, object](), dict[Hashable, object]()
        self._starting: dict[Hashable, object] | None = None
        self.faults: Sequence[str] = ()

    @property
    def has_any(self) -> bool:
        """Whether a start may go on with what was read before."""
        return bool(self._in_force)

    def read(self, settings: Hashable, read: Callable[[], T]) -> T:
        """Read what these settings name; raises ConfigError, but where a start knows it from before."""
        try:
            found = read()
        except ConfigError as error:
            known = self._in_force | self._coming
            if self._starting is None or settings not in known:
                raise
            found = cast(T, known[settings])
            self.faults = tuple(dict.fromkeys((*self.faults, *error.faults)))
        kept = self._in_force if settings in self._in_force else self._coming
        kept[settings] = found
        if self._starting is not None:
            self._starting[settings] = found
        return found

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Have what was read before do where files have become unusable: the daemon that ends had it."""
        self._starting, self.faults = {}, ()
        try:
            yield
            self._in_force, self._coming = self._starting, {}
        finally:
            self._starting = None

    def note(self, faults: Sequence[str]) -> None:
        """Of what the last start could not use, this is still wrong."""
        self.faults = faults

    def forget_refused(self) -> None:
        """Another config is to come than the one that was read last, which was not begun with."""
        self._coming = {}


LAST_READ = LastRead()
