"""Thumbnails of a few files of an archive, wherever they lie; each that cannot be had says why."""

from collections.abc import Sequence

from dropsight.archive.fetching import contents
from dropsight.archive.manifest import Named
from dropsight.errors import DropsightError, ImageError
from dropsight.images.opening import Bounds
from dropsight.images.thumbnail import thumbnail_of_data
from dropsight.inference.lookahead import look_ahead
from dropsight.names import as_name
from dropsight.video.sniffing import HEAD_BYTES, is_clip

_LONGEST = 176
_AT_A_TIME = 8


def pictures_of(paths: Sequence[str]) -> dict[str, bytes | str]:
    """Return a JPEG of each, or the reason why there is none.

    Both models' workers have decoded these, so that none is expected to end a process.
    """
    gone: list[str] = []

    def picture(path: str) -> bytes | str:
        if gone:
            return gone[0]
        try:
            return _picture(path)
        except ImageError as error:
            return str(error)
        except DropsightError as error:  # of the store: the next one would wait as long
            gone.append(str(error))
            return str(error)

    found = look_ahead(picture, paths, threads=_AT_A_TIME, most=_AT_A_TIME)
    return dict(zip(paths, found, strict=True))


def _picture(path: str) -> bytes | str:
    bounds = Bounds(damaged_too=True)
    named = Named(path, as_name(path), None, None)
    data = contents(named, bounds=bounds, is_wanted=lambda head: not is_clip(head[:HEAD_BYTES]))
    return "a clip" if data is None else thumbnail_of_data(data, bounds, longest=_LONGEST)
