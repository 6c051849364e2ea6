"""A sidecar goes where its image goes, just before it, under the image's name there."""

import errno
from collections.abc import Iterator
from contextlib import suppress
from stat import S_ISREG

from dropsight.errors import ImageError, MachineError, StoreError
from dropsight.files.beneath import look, remove, write
from dropsight.files.original import TAGS_SUFFIX, Original
from dropsight.images.opening import open_image
from dropsight.intake.tagging import SIDECAR, sidecar_names

# Another disk, a second name of it, or what is left of an earlier one.
_COPY = {errno.EXDEV, errno.EEXIST}


def move_along(image: Original, fd: int, target: str, *, part: str) -> None:
    """Have what lies beside an image lie beside its target in another folder; raises OSError."""
    for sidecar in _sidecars(image):
        with suppress(FileNotFoundError):  # taken away meanwhile
            _move(sidecar, fd, target + TAGS_SUFFIX, part=part)
        return


def delete_along(image: Original) -> None:
    """Take away what lay beside an image that is gone."""
    for sidecar in _sidecars(image):
        _remove(sidecar)
        return


def _move(sidecar: Original, fd: int, target: str, *, part: str) -> None:
    try:
        sidecar.move(fd, target)
    except OSError as error:
        if error.errno not in _COPY:
            raise
    else:
        return
    try:
        write(fd, target, _content(sidecar), part=part)
    except ImageError:  # a link, a pipe or too much by now: it holds up no image
        return
    _remove(sidecar)


def _content(sidecar: Original) -> bytes:
    try:
        with open_image(sidecar.name, dir_fd=sidecar.fd) as file:
            return file.read(SIDECAR) if file.stat.st_size else b""
    except MachineError as error:
        raise StoreError(str(error)) from error


def _sidecars(image: Original) -> Iterator[Original]:
    for name in sidecar_names(image.name):
        stat = look(image.fd, name)
        if stat and S_ISREG(stat.st_mode) and stat.st_size <= SIDECAR.max_bytes:
            yield Original(image.fd, name, stat, image.record_id, image.root)


def _remove(sidecar: Original) -> None:
    """Not one that has come since, of the next image of this name."""
    stat = look(sidecar.fd, sidecar.name)
    if stat and sidecar.is_it(stat):
        remove(sidecar.fd, sidecar.name)
