"""The bytes of one file of the manifest, from wherever it lies: its own fault, or the store's."""

import contextlib
import errno
import fcntl
import lzma
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from hashlib import sha256
from typing import IO, Any, TypeVar

from dropsight.archive.containers import forget, is_within, opened
from dropsight.archive.manifest import Named
from dropsight.archive.storage import is_object_store, is_url, told
from dropsight.archive.streams import streaming
from dropsight.errors import ConfigError, ImageError, MachineError, StoreError, refusal
from dropsight.images.opening import Bounds, open_image, open_named

T = TypeVar("T")

REFUSED = "access denied"
# A store that does not answer is asked again after so many seconds; its library has tried by itself before.
_AGAIN_SECONDS = (1.0, 5.0)
_PASSING = {407, 408, 425, 429}
# Redirects to what is no address, and names that no bucket has.
_NOWHERE = {"NonHttpUrlRedirectClientError", "InvalidUrlRedirectClientError", "ParamValidationError"}
# What a server of SSH says is of the file that it was asked for, unless it says nothing any more.
_SFTP, _SFTP_GONE = "SFTP", {"SFTPConnectionLost", "SFTPNoConnection"}
_OF_THE_FILE = {errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL}
# Of what archives have by a file's name, a link to nowhere, a password or :: for example.
_MISFIT = (
    LookupError,
    AttributeError,
    TypeError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
# Of a file of this machine: all others would be read no better, but perhaps in a moment.
_OF_ALL = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ESTALE, errno.ENOTCONN, errno.ENODEV),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT),
}
_LONGEST_SAID = 500
_COPY = "dropsight-clip-"
# Between the making of a copy and its lock.
_FRESH_SECONDS = 60.0
_HEAD_BYTES, _PIECE_BYTES = 1024, 2**20


def contents(named: Named, *, bounds: Bounds, is_wanted: Callable[[bytes], bool]) -> bytes | None:
    """Read it whole, None unless its beginning is wanted; raises ImageError, MachineError, StoreError."""
    if not is_url(named.opens):
        return _of_this_machine(named.opens, bounds, is_wanted)
    data = _patiently(named, lambda system, path: _wanted(system, path, named, bounds.max_bytes, is_wanted))
    if data is not None and not data:
        raise ImageError("empty", "the file is empty")
    return data


@contextmanager
def fetched(named: Named, *, most_bytes: int) -> Iterator[str]:
    """Give the path of a file of this machine: its own, or that of a copy; raises as `contents`."""
    if not is_url(named.opens):
        yield named.opens
        return
    if (named.size or 0) > most_bytes:
        raise _too_large(most_bytes, named.size)
    with tempfile.NamedTemporaryFile(prefix=_COPY) as copy:
        fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _patiently(named, lambda system, path: _copy(system, path, copy, named, most_bytes))
        yield copy.name


def sweep_copies() -> None:
    """Take away what processes left that were killed: each copy in use is locked by who made it."""
    folder = tempfile.gettempdir()
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(_COPY):
                _sweep(os.path.join(folder, name))


def _sweep(copy: str) -> None:
    with (
        contextlib.suppress(OSError, ImageError, MachineError),
        open_image(copy) as file,
    ):  # OSError: in use, or gone
        if file.stat.st_uid == os.geteuid() and time.time() - file.stat.st_mtime > _FRESH_SECONDS:
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(copy)


def digest_of_clip(path: str, *, most_bytes: int) -> str:
    """Return its SHA-256, of one that grows to where it ended at first; raises as `open_named`."""
    with open_named(path) as file:
        left = file.stat.st_size
        if left > most_bytes:
            raise _too_large(most_bytes, left)
        digest = sha256()
        try:
            while left > 0 and (piece := os.read(file.fd, min(left, _PIECE_BYTES))):
                digest.update(piece)
                left -= len(piece)
        except OSError as error:
            raise refusal(error, "read") from error
    return digest.hexdigest()


def _of_this_machine(path: str, bounds: Bounds, is_wanted: Callable[[bytes], bool]) -> bytes | None:
    """Read it; what is neither the machine's trouble nor its disk's is this file's, whatever it is."""
    for seconds in (*_AGAIN_SECONDS, None):
        try:
            with open_named(path) as file:
                return file.read(bounds) if is_wanted(file.head(_HEAD_BYTES)) else None
        except FileNotFoundError as error:
            raise ImageError("unreadable", "there is no such file") from error
        except (MachineError, OSError) as error:
            found = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(found, OSError):
                raise
            said = f"cannot be read: {found.strerror}"
            if found.errno not in {*_OF_ALL, errno.EAGAIN}:
                raise ImageError("unreadable", said) from error
            if seconds is None and found.errno != errno.EAGAIN:  # which is a lease that its owner keeps
                raise MachineError(f"{path}: {said}") from error
            if seconds is None:
                raise ImageError("unreadable", said) from error
            time.sleep(seconds)
    raise AssertionError


def _wanted(
    system: Any,  # noqa: ANN401 - fsspec's
    path: str,
    named: Named,
    most: int,
    is_wanted: Callable[[bytes], bool],
) -> bytes | None:
    if is_object_store(system) and 0 < (named.size or 0) <= most:
        data = _at_once(system, path, named.size or 0)
        if data is not None:
            return data if is_wanted(data) else None
    read = bytearray()
    with streaming(system, path) as pieces:
        for piece in pieces:
            read += piece
            if not is_wanted(bytes(read[:_HEAD_BYTES])):
                return None
            if len(read) > most:
                raise _too_large(most, named.size)
    return bytes(read)


def _copy(system: Any, path: str, to: IO[bytes], named: Named, most: int) -> None:  # noqa: ANN401 - fsspec's
    to.seek(0)
    to.truncate()
    with streaming(system, path) as pieces:
        for piece in pieces:
            if to.tell() + len(piece) > most:
                raise _too_large(most, named.size)
            to.write(piece)
    to.flush()


def _at_once(system: Any, path: str, size: int) -> bytes | None:  # noqa: ANN401 - fsspec's
    """Read an object by one request, None where it is larger by now than it was listed."""
    try:
        data = bytes(system.cat_file(path, start=0, end=size + 1))
    except OSError as error:
        if error.errno == errno.EINVAL:  # a store that knows of no bytes beyond its end
            return None
        raise
    return data if len(data) <= size else None


def _too_large(most: int, size: int | None) -> ImageError:
    said = "more than" if size is None or size <= most else f"{size} bytes, more than"
    return ImageError("too_large", f"{said} the limit of {most} bytes")


def _patiently(named: Named, ask: Callable[[Any, str], T]) -> T:
    for seconds in (*_AGAIN_SECONDS, None):
        try:
            with told(named.path, "read"):
                return ask(*opened(named.opens))
        except _MISFIT as error:
            raise ImageError("unreadable", f"cannot be read: {_short(error)}") from error
        except ConfigError as error:  # of what lies in a file: that is none of its kind
            if not is_within(named.opens) or isinstance(error.__cause__, ImportError):
                raise
            raise ImageError("unreadable", f"cannot be read: {_short(error)}") from error
        except StoreError as error:
            if fault := _fault_of_file(error.__cause__):
                raise fault from error
            forget()
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
        return ImageError("unreadable", f"{REFUSED}: {_short(error)}")
    # What no other try changes: redirects in a circle have the status 0, a URL that is none a ValueError.
    for_good = status in range(500) and status not in _PASSING
    kind = type(error).__name__
    refused = isinstance(error, ValueError) or kind in _NOWHERE
    refused = refused or getattr(error, "errno", None) in _OF_THE_FILE
    refused = refused or (kind.startswith(_SFTP) and kind not in _SFTP_GONE)
    if for_good or refused or _is_of_data(error):
        return ImageError("unreadable", f"cannot be read: {_short(error)}")
    return None


def _is_of_data(error: BaseException | None) -> bool:
    """Whether it is an answer without an end, or what bz2 and gzip say of damage."""
    if not isinstance(error, OSError):
        return False
    return error.errno == errno.EFBIG or (
        type(error) in {OSError, BadGzipFile} and error.errno is None and bool(error.args)
    )


def _short(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:_LONGEST_SAID] or type(error).__name__
