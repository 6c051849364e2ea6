"""The newest small picture of each camera, on its way to the broker."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from dropsight.errors import DropsightError, reason
from dropsight.images.framing import Pixels
from dropsight.images.thumbnail import as_jpeg
from dropsight.threads import begins

log = logging.getLogger(__name__)

THUMBNAIL_SECONDS = 1.0
LONGEST_SIDE = 320
# Of more cameras than these at once, the ones that waited longest are left out.
MOST_CAMERAS = 64


class Thumbnails(msgspec.Struct):
    """Thread-safe. A camera's is due at most once a second, and encoded only when it is.

    What is made of a file, or of a clip in seconds, is made by a thread of its own; then `wake` is called.
    """

    wake: Callable[[], None]
    cleared: bool = False
    """Whether the broker was told to drop those of an earlier life, where there are to be none."""
    _waiting: dict[str, Pixels | bytes | Callable[[], bytes]] = msgspec.field(default_factory=dict)
    _recalled: dict[str, Callable[[], bytes]] = msgspec.field(default_factory=dict)
    _to_make: dict[str, Callable[[], bytes]] = msgspec.field(default_factory=dict)
    _maker: threading.Thread | None = None
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
            self._to_make.pop(camera, None)

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
        """Return camera and JPEG of one that is due now, or of any: then it waits for those to be made."""
        now = time.monotonic()
        while True:
            with self._lock:
                due = next((name for name in self._waiting if at_once or self._due_at(name) <= now), None)
                if due is None and not (at_once and self._to_make):
                    return None
                if due is None:
                    due = next(iter(self._to_make))
                    self._waiting[due] = self._to_make.pop(due)
                picture = self._waiting.pop(due)
                if callable(picture) and not at_once:
                    self._have_made(due, picture)
                    continue
            jpeg = self._made(due, picture) if callable(picture) else _as_jpeg(picture)
            if jpeg is not None:
                return self._taken(due, jpeg, now)

    def _taken(self, due: str, jpeg: bytes, now: float) -> tuple[str, bytes]:
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
            for known in (self._waiting, self._recalled, self._to_make, self._sent, self._sent_at):
                known.pop(camera, None)

    def _have_made(self, camera: str, make: Callable[[], bytes]) -> None:
        """Under the lock."""
        self._to_make[camera] = make
        if self._maker is None or not self._maker.is_alive():
            maker = threading.Thread(target=self._make_all, name="mqtt-pictures", daemon=True)
            # Without room for one more thread it waits for the next picture.
            self._maker = maker if begins(maker) else None

    def _make_all(self) -> None:
        while make := self._next_to_make():
            jpeg = None
            try:
                jpeg = self._made(*make)
            finally:
                self._note_made(*make, jpeg)
            self.wake()

    def _next_to_make(self) -> tuple[str, Callable[[], bytes]] | None:
        with self._lock:
            make = next(iter(self._to_make.items()), None)
            if make is None:
                self._maker = None
            return make

    def _note_made(self, camera: str, make: Callable[[], bytes], jpeg: bytes | None) -> None:
        with self._lock:
            if self._to_make.get(camera) is make:  # else there is a newer one, or none is wanted
                del self._to_make[camera]
                if jpeg is not None:
                    self._waiting[camera] = jpeg

    def _made(self, camera: str, make: Callable[[], bytes]) -> bytes | None:
        try:
            return make()
        except (OSError, DropsightError) as error:
            said = reason(error) if isinstance(error, OSError) else error
            log.info("the last picture of camera %s cannot be published again: %s", camera, said)
            with self._lock:
                self._recalled.pop(camera, None)
            return None

    def _due_at(self, camera: str) -> float:
        return self._sent_at.get(camera, -THUMBNAIL_SECONDS) + THUMBNAIL_SECONDS


def _as_jpeg(picture: Pixels | bytes) -> bytes:
    return picture if isinstance(picture, bytes) else as_jpeg(picture, longest=LONGEST_SIDE)
