"""The pictures of records: found again wherever they were filed, made small, remembered."""

import errno
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

from dropsight.config import Watch
from dropsight.errors import ImageError
from dropsight.files.beneath import Top
from dropsight.files.original import other_name
from dropsight.images.decoding import decode
from dropsight.images.framing import Pixels
from dropsight.images.header import check_bounds, read_header
from dropsight.images.opening import Bounds, ImageFile, open_image
from dropsight.images.thumbnail import thumbnail_of
from dropsight.journal.reader import RecordedFile
from dropsight.names import as_name
from dropsight.records import Result

# A record's image never changes; another image has another id.
FOR_GOOD = "private, max-age=31536000, immutable"
LARGEST = 1280
SIZES = {"small": 320, "large": LARGEST}
REMEMBERED_BYTES = 8 * 2**20
EXPLANATION_BYTES = 8 * 2**20


class PictureFiles:
    """The thumbnails that were asked for last, within a bound. Thread-safe."""

    def __init__(self, most_bytes: int = REMEMBERED_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
            return self._pictures.get(key)

    def put(self, key: str, picture: bytes) -> None:
        with self._lock:
            self._bytes += len(picture) - len(self._pictures.pop(key, b""))
            self._pictures[key] = picture
            while self._bytes > self._most_bytes:
                _, old = self._pictures.popitem(last=False)
                self._bytes -= len(old)


def make_thumbnail(
    row: RecordedFile, record_id: str, watches: Sequence[Watch], bounds: Bounds, size: str
) -> bytes:
    """Return a JPEG of a record's image; raises ImageError, FileNotFoundError where it is gone."""
    with find_image(row, record_id, watches) as file:
        return thumbnail_of(file, bounds, longest=SIZES[size])


def _gone(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def pixels_of(picture: bytes) -> Pixels:
    """Decode one that was made here, or by another process: as any stranger's, it may be a hostile clip's."""
    header = read_header(picture)
    check_bounds(header, Bounds(max_pixels=LARGEST**2))
    width, height = header.upright
    return decode(picture, header, at_least=(height, width), how="stretch")


def read_explanation(path: str, watches: Sequence[Watch]) -> bytes:
    """Return the overlay that a record names; raises FileNotFoundError where there is none (yet)."""
    for watch, named in itertools.product(watches, dict.fromkeys((path, as_name(path)))):
        below = os.fspath(watch.processed) + os.sep
        if named.startswith(below) and (file := _open_below(_places(watch)[0], named.removeprefix(below))):
            with file:
                return file.read(Bounds(EXPLANATION_BYTES))
    raise _gone(path)


def find_image(row: RecordedFile, record_id: str, watches: Sequence[Watch]) -> ImageFile:
    """Open the very file that the record was made of, or a copy that still has its size and time."""
    for top, relative in _ways(os.fsdecode(row.path), record_id, watches):
        file = _open_below(top, relative)
        if file is None:
            continue
        if row.is_of(file.stat):
            return file
        os.close(file.fd)
    raise _gone(os.fsdecode(row.path))


def find_of_record(record: Result, watches: Sequence[Watch]) -> ImageFile:
    """As `find_image`, by what the record itself says: of files of one name and size any will do."""
    relative = as_name(record.image_path)
    for watch in watches:
        for top, name in _ways(os.fspath(watch.path / relative), record.id, [watch]):
            if file := _open_below(top, name):
                if file.stat.st_size == record.image.bytes:
                    return file
                os.close(file.fd)
    raise _gone(record.image_path)


def _ways(path: str, record_id: str, watches: Sequence[Watch]) -> Iterator[tuple[Top, str]]:
    """Where an image may be by now: a folder of the config, and the way below it."""
    for watch in watches:
        inbox = os.fspath(watch.path) + os.sep
        if not path.startswith(inbox):
            continue
        relative = path.removeprefix(inbox)
        processed, failed, here = _places(watch)
        for top in (processed, failed):
            yield top, relative
            yield top, other_name(relative, record_id)
            yield top, Path(other_name(relative, record_id)).name
        yield here, relative


def _places(watch: Watch) -> tuple[Top, Top, Top]:
    inbox = Top.at(watch.path)
    return inbox.below(watch.processed), inbox.below(watch.failed), inbox


def _open_below(top: Top, name: str) -> ImageFile | None:
    """Open a file below `top`; no link on the way leads elsewhere."""
    way = Path(name)
    if os.pardir in way.parts:
        return None
    try:
        with top.inside(os.fspath(way.parent)) as fd:
            return open_image(way.name, dir_fd=fd)
    except (OSError, ImageError):
        return None
