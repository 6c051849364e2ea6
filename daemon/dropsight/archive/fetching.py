"""The bytes of one file of the manifest, from wherever it lies: its own fault, or the store's."""

import errno
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dropsight.archive.manifest import Named
from dropsight.archive.storage import is_url, system_of, told
from dropsight.errors import ImageError, MachineError, StoreError
from dropsight.images.opening import Bounds, open_named

T = TypeVar("T")

REFUSED = "access denied"
# A store that does not answer is asked again after so many seconds; its library has tried by itself before.
_AGAIN_SECONDS = (1.0, 5.0)


def contents(named: Named, *, bounds: Bounds, is_wanted: Callable[[bytes], bool]) -> bytes | None:
    """Read it whole, None unless its beginning is wanted; raises ImageError, MachineError, StoreError."""
    if not is_url(named.opens):
        return _of_this_machine(named.opens, bounds, is_wanted)
    if named.size is not None and named.size > bounds.max_bytes and is_wanted(_asked(named, end=1024)):
        raise ImageError("too_large", f"{named.size} bytes, more than the limit of {bounds.max_bytes} bytes")
    data = _asked(named)
    if not data:
        raise ImageError("empty", "the file is empty")
    return data if is_wanted(data) else None


@contextmanager
def fetched(named: Named, *, most_bytes: int) -> Iterator[str]:
    """Give the path of a file of this machine: its own, or that of a copy; raises as `contents`."""
    if not is_url(named.opens):
        yield named.opens
        return
    if (named.size or 0) > most_bytes:
        raise ImageError("too_large", f"{named.size} bytes, more than the limit of {most_bytes} bytes")
    with tempfile.NamedTemporaryFile(prefix="dropsight-clip-") as copy:
        _patiently(named, lambda system, path: system.get_file(path, copy.name))
        yield copy.name


def _of_this_machine(path: str, bounds: Bounds, is_wanted: Callable[[bytes], bool]) -> bytes | None:
    try:
        with open_named(path) as file:
            return file.read(bounds) if is_wanted(file.head(1024)) else None
    except FileNotFoundError as error:
        raise ImageError("unreadable", "there is no such file") from error
    except MachineError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
            raise ImageError("unreadable", f"cannot be read: {error.__cause__.strerror}") from error
        raise


def _asked(named: Named, *, end: int | None = None) -> bytes:
    return _patiently(named, lambda system, path: bytes(system.cat_file(path, end=end)))


def _patiently(named: Named, ask: Callable[[Any, str], T]) -> T:
    for seconds in (*_AGAIN_SECONDS, None):
        try:
            with told(named.path, "read"):
                return ask(*system_of(named.opens))
        except StoreError as error:
            if fault := _fault_of_file(error.__cause__):
                raise fault from error
            if seconds is None:
                raise
            time.sleep(seconds)
    raise AssertionError


def _fault_of_file(error: BaseException | None) -> ImageError | None:
    """Return what it is where the store is sound and this file is not to be had."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in {404, 410}:
        return ImageError("unreadable", "there is no such file")
    if isinstance(error, PermissionError) or status in {401, 403}:
        return ImageError("unreadable", f"{REFUSED}: {' '.join(str(error).split())}")
    return None
