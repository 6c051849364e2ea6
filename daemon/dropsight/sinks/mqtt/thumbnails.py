"""The newest small picture of each camera, on its way to the broker."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from dropsight.errors import DropsightError
from dropsight.images.framing import Pixels
from dropsight.images.thumbnail import as_jpeg

log = logging.getLogger(__name__)

THUMBNAIL_SECONDS = 1.0
LONGEST_SIDE = 320
# Of more cameras than these at once, the ones that waited longest are left out.
MOST_CAMERAS = 64


class Thumbnails(msgspec.Struct):
    """Thread-safe. A camera's is due at most once a second, and encoded only when it is."""

    cleared: bool = False
    """Whether the broker was told to drop those of an earlier life, where there are to be none."""
    _waiting: dict[str, Pixels | bytes | Callable[[], bytes]] = msgspec.field(default_factory=dict)
    _recalled: dict[str, Callable[[], bytes]] = msgspec.field(default_factory=dict)
    _sent: dict[str, bytes] = msgspec.field(default_factory=dict)
    _sent_at: dict[str, float] = msgspec.field(default_factory=dict)
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def show(self, camera: str, picture: Pixels | bytes | Callable[[], bytes]) -> None:
        """A picture, or what makes it: raises DropsightError, or OSError where it is gone."""
        with self._lock:
            if camera not in self._waiting and len(self._waiting) >= MOST_CAMERAS:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[camera] = picture
            self._recalled.pop(camera, None)

    def recall(self, camera: str, make: Callable[[], bytes]) -> None:
        """Know a picture of an earlier life, which is made should the broker have forgotten it.

        `make` raises DropsightError, or OSError where it is gone.
        """
        with self._lock:
            if len(self._recalled) < MOST_CAMERAS:
                self._recalled[camera] = make

    @property
    def sent(self) -> Collection[str]:
        """The cameras whose newest picture the broker was sent, in this life or an earlier one."""
        with self._lock:
            return [*self._sent, *self._recalled]

    def show_again(self, kept: Mapping[str, bytes]) -> None:
        """Have all sent anew that the broker has forgotten."""
        with self._lock:
            lost = {camera: jpeg for camera, jpeg in self._sent.items() if kept.get(camera) != jpeg}
            recalled = {camera: make for camera, make in self._recalled.items() if camera not in kept}
            self._waiting = {**recalled, **lost, **self._waiting}
            for camera in lost:
                self._sent_at.pop(camera, None)

    def take(self, *, at_once: bool = False) -> tuple[str, bytes] | None:
        """Return camera and JPEG of one that is due now, or of any."""
        now = time.monotonic()
        with self._lock:
            due = next((name for name in self._waiting if at_once or self._due_at(name) <= now), None)
            if due is None:
                return None
            picture = self._waiting.pop(due)
        try:
            jpeg = _as_jpeg(picture)
        except (OSError, DropsightError) as error:
            log.info("the last picture of camera %s cannot be published again: %s", due, error)
            with self._lock:
                self._recalled.pop(due, None)
            return self.take(at_once=at_once)
        with self._lock:
            for known in (self._sent, self._sent_at, self._recalled):
                known.pop(due, None)
            self._sent[due], self._sent_at[due] = jpeg, now
            if len(self._sent) > MOST_CAMERAS:
                oldest = next(iter(self._sent))
                del self._sent[oldest], self._sent_at[oldest]
        return due, jpeg

    def seconds_to_next(self) -> float | None:
        """How long until one is due, None when none waits."""
        with self._lock:
            soonest = min((self._due_at(name) for name in self._waiting), default=None)
        return None if soonest is None else max(soonest - time.monotonic(), 0.0)

    def forget(self, camera: str) -> None:
        with self._lock:
            for known in (self._waiting, self._recalled, self._sent, self._sent_at):
                known.pop(camera, None)

    def _due_at(self, camera: str) -> float:
        return self._sent_at.get(camera, -THUMBNAIL_SECONDS) + THUMBNAIL_SECONDS


def _as_jpeg(picture: Pixels | bytes | Callable[[], bytes]) -> bytes:
    if isinstance(picture, bytes):
        return picture
    return picture() if callable(picture) else as_jpeg(picture, longest=LONGEST_SIDE)
