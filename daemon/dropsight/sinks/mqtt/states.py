"""The newest record of each camera: what a dashboard shows."""

import math
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from dropsight.records import Result

STATE_SECONDS = 1.0


class _Shown(NamedTuple):
    """`catch_up` is the one that it waited in, None where it did not wait long."""

    line: bytes
    arrived: float
    captured: str
    catch_up: float | None


class CameraStates(msgspec.Struct):
    """Thread-safe. A camera's state is due at most once a second.

    What came last is the newest: cameras' clocks fall back. Only of images that wait together, as after an
    hour without power, the time of capture says it, since they may have come in any order.
    """

    _newest: dict[str, _Shown] = msgspec.field(default_factory=dict)
    _shown_at: dict[str, float] = msgspec.field(default_factory=dict)
    _stale: set[str] = msgspec.field(default_factory=set)
    _catch_up: float = -math.inf
    _at_rest: bool = True
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def show(self, record: Result, line: bytes, *, arrived: float, at_rest: bool = True) -> None:
        """Make this the camera's state unless there is a newer one; not `at_rest`, other images wait.

        A catch-up begins when images begin to wait; those that arrive later are no part of it.
        """
        with self._lock:
            if self._at_rest and not at_rest:
                self._catch_up = time.monotonic()
            self._at_rest = at_rest
            catch_up = self._catch_up if arrived <= self._catch_up else None
            new = _Shown(line, arrived, record.image.captured, catch_up)
            shown = self._newest.get(record.camera)
            if shown is None or _is_newer(new, shown):
                self._newest[record.camera] = new
                self._stale.add(record.camera)

    def due(self, *, at_once: bool = False) -> Mapping[str, bytes]:
        """Take what is to be published now."""
        now = time.monotonic()
        with self._lock:
            due = [
                camera
                for camera in self._stale
                if at_once or now - self._shown_at.get(camera, -STATE_SECONDS) >= STATE_SECONDS
            ]
            self._stale.difference_update(due)
            self._shown_at.update(dict.fromkeys(due, now))
            return {camera: self._newest[camera].line for camera in due}

    def new(self, camera: str) -> bytes | None:
        """Return the camera's newest, if it is of this life."""
        with self._lock:
            shown = self._newest.get(camera)
            return shown.line if shown and shown.arrived > -math.inf else None

    def everything(self) -> Mapping[str, bytes]:
        """Take all there is, for a broker that has forgotten."""
        with self._lock:
            self._stale.clear()
            return {camera: shown.line for camera, shown in self._newest.items()}

    def forget(self, camera: str) -> None:
        with self._lock:
            self._newest.pop(camera, None)
            self._shown_at.pop(camera, None)
            self._stale.discard(camera)

    def stale(self) -> bool:
        return bool(self._stale)


def _is_newer(new: _Shown, shown: _Shown) -> bool:
    if new.catch_up is not None and new.catch_up == shown.catch_up:
        return new.captured >= shown.captured
    return new.arrived >= shown.arrived
