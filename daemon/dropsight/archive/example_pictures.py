"""Thumbnails of a few files of an archive, wherever they lie; each that cannot be had says why."""

import os
from collections.abc import Iterable, Sequence

from dropsight.archive.fetching import contents
from dropsight.archive.manifest import Named
from dropsight.archive.storage import is_url
from dropsight.archive.urls import check_listed
from dropsight.errors import ConfigError, DropsightError, ImageError
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
        except (ImageError, ConfigError, ValueError) as error:  # the last of an odd URL
            return str(error)
        except DropsightError as error:  # of the store: the next one would wait as long
            gone.append(str(error))
            return str(error)

    found = look_ahead(picture, paths, threads=_AT_A_TIME, most=_AT_A_TIME)
    return dict(zip(paths, found, strict=True))


def homes_of(paths: Iterable[str]) -> list[str]:
    """Return where these lie: the folder of those of this machine, and the stores of the others."""
    urls, here = set[str](), list[str]()
    for path in paths:
        if is_url(path):
            urls.add("/".join(path.split("/")[:3]))
        else:
            here.append(os.path.abspath(os.path.dirname(path)))
    return [*([os.path.commonpath(here)] if here else []), *sorted(urls)]


def _picture(path: str) -> bytes | str:
    bounds = Bounds(damaged_too=True)
    if is_url(path):
        check_listed(path)
    named = Named(path, as_name(path), None, None)
    data = contents(named, bounds=bounds, is_wanted=lambda head: not is_clip(head[:HEAD_BYTES]))
    return "a clip" if data is None else thumbnail_of_data(data, bounds, longest=_LONGEST)
