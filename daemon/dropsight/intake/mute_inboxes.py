"""Inboxes that do not answer, as those on a share whose server is gone: a start goes on without them."""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from dropsight.config import Config, Watch
from dropsight.errors import StoreError
from dropsight.names import as_text
from dropsight.threads import begins

PATIENCE_SECONDS = 10.0
PART = "share"

_Places = tuple[Path, ...]


class MuteInboxes:
    """Whoever looks at such a share waits until it answers or is unmounted, and nobody can end that.

    So each inbox is looked at on a thread of its own first, its `processed` and `failed` with it; of one that
    has not come back, nothing else is touched. `asked` is the config with all inboxes.
    """

    def __init__(self) -> None:
        self.asked = Config()
        self._looks: Mapping[_Places, threading.Thread] = {}
        self._left_out: tuple[Watch, ...] = ()

    def answering(self, config: Config) -> Config:
        """Return the config without the inboxes that do not answer; raises StoreError where none does."""
        wanted = {_places(watch): watch for watch in config.watch}
        hanging = {places: look for places, look in self._looks.items() if look.is_alive()}
        begun = {places: _look(places) for places in wanted if places not in hanging}
        until = time.monotonic() + PATIENCE_SECONDS
        for look in filter(None, begun.values()):
            look.join(max(until - time.monotonic(), 0.0))
        mute = {places: look for places, look in begun.items() if look and look.is_alive()}
        self._looks = hanging | mute
        self.adopt(config)
        found = self.without(config)
        if not found.watch:
            raise StoreError(str(self))
        return found

    def without(self, config: Config) -> Config:
        """Return it without what is known not to answer."""
        there = tuple(watch for watch in config.watch if _places(watch) not in self._looks)
        return replace(config, watch=there)

    def adopt(self, config: Config) -> None:
        """Take note of the config that is in force from now on, but for what is left out of it."""
        self.asked = config
        self._left_out = tuple(watch for watch in config.watch if _places(watch) in self._looks)

    def holds(self, path: str | bytes) -> bool:
        """Whether this path lies in an inbox that was left out. From any thread."""
        named = os.fsdecode(path)
        return any(named.startswith(f"{watch.path}{os.sep}") for watch in self._left_out)

    @property
    def any(self) -> bool:
        """Whether some inbox was left out."""
        return bool(self._left_out)

    @property
    def answers(self) -> bool:
        """Whether one that was left out has answered since."""
        return any(not self._looks[_places(watch)].is_alive() for watch in self._left_out)

    def __str__(self) -> str:
        names = ", ".join(as_text(os.fspath(watch.path)) for watch in self._left_out)
        text = f"{names} did not answer for {PATIENCE_SECONDS:g} s"
        return f"{text}: left out until it does, or its share is unmounted"


def _places(watch: Watch) -> _Places:
    if watch.after == "keep":
        return (watch.path,)
    filed = (watch.failed, watch.processed) if watch.after == "move" else (watch.failed,)
    return (watch.path, *filed)


def _look(places: _Places) -> threading.Thread | None:
    """Begin to look at them; None where there is no thread to be had, which others tell of."""
    name = f"look at {as_text(os.fspath(places[0]))}"
    look = threading.Thread(target=_look_at, args=(places,), name=name, daemon=True)
    return look if begins(look) else None


def _look_at(places: Iterable[Path]) -> None:
    for place in places:
        with suppress(OSError), os.scandir(place) as entries:
            next(entries, None)
