"""The newest record of each camera by capture time: what a dashboard shows."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from dropsight.records import Result

STATE_SECONDS = 1.0


@dataclass(slots=True)
class CameraStates:
    """Thread-safe. A camera's state is due at most once a second."""

    _newest: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    _shown_at: dict[str, float] = field(default_factory=dict)
    _stale: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def show(self, record: Result, line: bytes) -> None:
        """Make this the camera's state, unless a picture taken later is.

        A picture from the future is no such: the clock was set back since.
        """
        camera, captured = record.camera, record.image.captured
        with self._lock:
            shown = self._newest.get(camera, ("", b""))[0]
            if captured >= shown or shown > record.time:
                self._newest[camera] = (captured, line)
                self._stale.add(camera)

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
            return {camera: self._newest[camera][1] for camera in due}

    def everything(self) -> Mapping[str, bytes]:
        """Take all there is, for a broker that has forgotten."""
        with self._lock:
            self._stale.clear()
            return {camera: line for camera, (_, line) in self._newest.items()}

    def forget(self, camera: str) -> None:
        with self._lock:
            self._newest.pop(camera, None)
            self._shown_at.pop(camera, None)
            self._stale.discard(camera)

    def stale(self) -> bool:
        return bool(self._stale)
