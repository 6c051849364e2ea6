"""A small picture of a record, for those who are told of it: of its image, or of its clip's surest frame."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import closing

from dropsight.config import Config
from dropsight.errors import DamagedError
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import thumbnail_of
from dropsight.journal.reader import JournalReader
from dropsight.web.pictures import find_image
from dropsight.web.stills import clip_of, make_still

MOST_KEPT = 8
KEPT_SECONDS = 60.0


class RecordPictures:
    """For all who tell people, each on its thread: a picture is made once for them all, and one at a time.

    Two dozen of them would decode it beside each other, in as many times its memory. One that fails is not
    tried again for each of them: it may be slow to fail.
    """

    def __init__(self, make: Callable[[str, int], bytes]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._kept: dict[tuple[str, int], tuple[float, bytes | Exception]] = {}

    def picture(self, record_id: str, longest: int) -> bytes:
        """Return a JPEG; raises as `picture_of`."""
        key = record_id, longest
        with self._lock:
            made_at, found = self._kept.get(key, (-math.inf, b""))
            if time.monotonic() - made_at > KEPT_SECONDS:
                found = self._made(record_id, longest)
                self._kept.pop(key, None)  # those made last are last
                self._kept[key] = time.monotonic(), found
                if len(self._kept) > MOST_KEPT:
                    del self._kept[next(iter(self._kept))]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found

    def _made(self, record_id: str, longest: int) -> bytes | Exception:
        try:
            return self._make(record_id, longest)
        except DamagedError:
            raise
        except Exception as error:  # noqa: BLE001 - raised for whoever asks
            return error


def picture_of(record_id: str, config: Config, *, longest: int) -> bytes:
    """Return a JPEG; raises DropsightError, FileNotFoundError where record or file are gone."""
    with closing(JournalReader(config.store.path)) as journal:
        row = journal.find(record_id)
    if row is None:
        raise FileNotFoundError(record_id)
    limits = config.limits
    bounds = Bounds(limits.max_bytes, limits.max_pixels, depth=config.images.depth)
    if clip := clip_of(row.line):
        return make_still(row, record_id, clip, config.watch, bounds, longest=longest)
    with find_image(row, record_id, config.watch) as file:
        return thumbnail_of(file, bounds, longest=longest)
