"""Inboxes that do not answer, as those on a share whose server is gone: a start goes on without them."""

import math
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from dropsight.config import Config, Watch
from dropsight.errors import StoreError
from dropsight.names import as_text
from dropsight.threads import begins

PATIENCE_SECONDS = 10.0
# What answers late is waited for at the next start for twice as long as it took, and for so long at most.
LONGEST_PATIENCE_SECONDS = 30.0
# Where that was in vain, the start after it comes later each time.
LONGEST_PAUSE_SECONDS = 3600.0
PART = "share"

_Places = tuple[Path, ...]


class MuteInboxes:
    """Whoever looks at such a share waits until it answers or is unmounted, and nobody can end that.

    So each inbox is looked at on a thread of its own first, its `processed` and `failed` with it; of one that
    has not come back, nothing else is touched. `asked` is the config with all inboxes.
    """

    def __init__(self) -> None:
        self.asked = Config()
        self._looks: Mapping[_Places, PlacesLook] = {}
        """Those at what was left out of the last start."""
        self._left_out: tuple[Watch, ...] = ()
        self._doubts: dict[_Places, PlacesLook] = {}
        """Looks at what is watched, while a walk hangs."""
        self._lates: dict[_Places, PlacesLook] = {}
        """The last of these that was late: what stops answering again and again is left out for longer."""

    def answering(self, config: Config) -> Config:
        """Return the config without the inboxes that do not answer; raises StoreError where none does."""
        wanted = {_places(watch): watch for watch in config.watch}
        hanging = {places: look for places, look in self._looks.items() if look.hangs}
        begun = {
            places: PlacesLook(places, self._looks.get(places)) for places in wanted if places not in hanging
        }
        for look in begun.values():
            look.wait()
        mute = {places: look for places, look in begun.items() if look.hangs}
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

    def doubt(self, config: Config) -> bool:
        """Look at what is watched, again and again; tell whether some of it, but not all, has gone mute."""
        for watch in config.watch:
            places = _places(watch)
            if not ((look := self._doubts.get(places)) and look.hangs):
                self._doubts[places] = DeepLook(places, self._lates.get(places), links=watch.follow_links)
        mute = {places: look for places, look in self._doubts.items() if look.hangs and look.is_late}
        if not mute or len(mute) == len(config.watch):
            return False
        self._looks = {**self._looks, **mute}
        self._lates |= mute
        return True

    def believe(self) -> None:
        """Nothing hangs."""
        self._doubts = {}

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
        """Whether one that was left out has answered since, and is to be looked at again."""
        return any(self._looks[_places(watch)].is_over for watch in self._left_out)

    def __str__(self) -> str:
        names = ", ".join(as_text(os.fspath(watch.path)) for watch in self._left_out)
        longest = max((self._looks[_places(watch)].patience for watch in self._left_out), default=0.0)
        text = f"{names} did not answer for {longest:.0f} s"
        return f"{text}: left out until it does, or its share is unmounted"


class PlacesLook:
    """A look at the places of an inbox, on a thread of its own; `late` is the last one, if it came back late.

    `pause` is for how many seconds, beyond its `patience`, nobody looks again.
    """

    def __init__(self, places: _Places, late: "PlacesLook | None" = None) -> None:
        self._places, self.took_seconds = places, math.inf
        self.patience, self.pause = PATIENCE_SECONDS, 0.0
        if late:
            self.patience = min(max(2 * late.took_seconds, PATIENCE_SECONDS), LONGEST_PATIENCE_SECONDS)
            self.pause = min(2 * max(late.pause, PATIENCE_SECONDS), LONGEST_PAUSE_SECONDS)
        name = f"look at {as_text(os.fspath(places[0]))}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._began = self._got_on = time.monotonic()
        begins(self._thread)  # where there is no thread to be had, others tell of it

    @property
    def hangs(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_late(self) -> bool:
        """Whether it has not got on for longer than it may take."""
        return time.monotonic() - self._got_on >= self.patience

    @property
    def is_over(self) -> bool:
        """Whether it has come back, and it is time for another."""
        return not self.hangs and time.monotonic() - self._began >= self.patience + self.pause

    def wait(self) -> None:
        if self.hangs:
            self._thread.join(max(self._began + self.patience - time.monotonic(), 0.0))

    def _run(self) -> None:
        for place in self._places:
            with suppress(OSError), os.scandir(place) as entries:
                next(entries, None)
        self._look_below()
        self.took_seconds = time.monotonic() - self._began

    def _look_below(self) -> None:
        pass


class DeepLook(PlacesLook):
    """One into all folders below the inbox, where another share may be mounted; `links` are followed."""

    def __init__(self, places: _Places, late: PlacesLook | None, *, links: bool) -> None:
        self._links, self._seen = links, set[tuple[int, int]]()
        super().__init__(places, late)

    def _look_below(self) -> None:
        for folder, below, _ in os.walk(self._places[0], followlinks=self._links):
            self._got_on = time.monotonic()
            if self._links:
                below[:] = [name for name in below if self._is_new(os.path.join(folder, name))]

    def _is_new(self, path: str) -> bool:
        """Else a link that leads back would have no end."""
        try:
            found = os.stat(path)
        except OSError:
            return False
        place = found.st_dev, found.st_ino
        if place in self._seen:
            return False
        self._seen.add(place)
        return True


def _places(watch: Watch) -> _Places:
    if watch.after == "keep":
        return (watch.path,)
    filed = (watch.failed, watch.processed) if watch.after == "move" else (watch.failed,)
    return (watch.path, *filed)
