"""Where results go: a folder of this machine, or what fsspec knows; each file whole or not at all."""

import contextlib
import logging
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dropsight.archive.urls import check_url, know_servers
from dropsight.bounded import read_bounded
from dropsight.errors import ConfigError, DropsightError, StoreError, reason

# Here an object appears with the last byte of a PUT; elsewhere a file is there as soon as it is begun.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "r2", "memory"}
_TEMPORARY = ".part"
_SMALL_BYTES = 2**26


def keep_quiet() -> None:
    """Have libraries tell of no keys and connections."""
    for library in ("aiobotocore", "asyncssh", "botocore", "paramiko", "tar"):
        logging.getLogger(library).setLevel(logging.WARNING)


def is_url(place: str) -> bool:
    return "://" in place and not place.startswith("file://")


def absolute(place: str) -> str:
    """Return a place as any process finds it; raises ConfigError for one that names none, or a password."""
    if not is_url(place):
        return os.path.abspath(place.removeprefix("file://"))
    if not place.partition("://")[2].strip("/"):
        raise ConfigError([f"{place}: names no host and no bucket"])
    check_url(place)
    return place


def host_of(url: str) -> str:
    """Return sftp://user@host of systems whose paths are without the host, which is a setting to fsspec.

    Empty for all others; raises as `system_of`.
    """
    import fsspec

    protocol, _, rest = url.partition("://")
    if "::" in protocol:
        return ""
    host = f"{protocol}://{rest.partition('/')[0]}"
    with _understood(url):
        kind = fsspec.get_filesystem_class(protocol)
        return host if "host" in kind._get_kwargs_from_urls(host) else ""  # noqa: SLF001 - no other way


def system_of(url: str) -> tuple[Any, str]:
    """Return fsspec's file system and the path in it; raises ConfigError for what is not to be had."""
    import fsspec

    check_url(url)
    know_servers(url)
    host = host_of(url)
    with _understood(url):
        if host:  # else a # or ? in a name would be a setting, too
            return fsspec.core.url_to_fs(f"{host}/")[0], url.removeprefix(host) or "/"
        system, path = fsspec.core.url_to_fs(url)
        return system, path


@contextmanager
def _understood(url: str) -> Iterator[None]:
    try:
        yield
    except (DropsightError, OSError, MemoryError):
        raise
    except Exception as error:  # each protocol's own, of what it cannot make of a URL
        if type(error).__module__.startswith(_LIBRARIES):
            raise
        raise ConfigError([f"{url}: {error}"]) from error


@contextmanager
def told(place: str, verb: str) -> Iterator[None]:
    """Raise StoreError in one line for whatever a store's library raises."""
    try:
        yield
    except DropsightError:
        raise
    except (OSError, ValueError) as error:  # the latter for URLs that are none, and columns of odd names
        raise StoreError(f"{place}: cannot be {verb}: {_said(error)}") from error
    except Exception as error:  # each store's library has errors of its own, of no common kind
        if not type(error).__module__.startswith(_LIBRARIES):
            raise
        raise StoreError(f"{place}: cannot be {verb}: {_said(error)}") from error


_LIBRARIES = (
    *("fsspec", "s3fs", "botocore", "aiobotocore", "gcsfs", "google", "adlfs", "azure", "aiohttp"),
    *("ftplib", "paramiko", "sshfs", "asyncssh", "requests", "urllib3", "pyarrow"),
    *("webdav4", "httpx", "httpcore", "xml"),
)


def _said(error: BaseException) -> str:
    if isinstance(error, PermissionError) or type(error).__name__ == "AuthenticationException":
        return f"access denied ({_short(error)}): check the credentials and permissions"
    if type(error).__name__ == "HostKeyNotVerifiable":
        return f"{_short(error)}: see that it is the right one, by ssh, which adds it to ~/.ssh/known_hosts"
    if type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}:
        return f"no credentials ({_short(error)}): set them as this store's own tools take them"
    if isinstance(error, OSError) and error.strerror:
        return reason(error)
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return "there is no such file or folder" if isinstance(error, FileNotFoundError) else _short(error)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Storage(msgspec.Struct, frozen=True):
    """A folder, by its path or URL."""

    place: str

    @property
    def on_this_machine(self) -> bool:
        return not is_url(self.place)

    def named(self, name: str) -> str:
        return f"{self.place.rstrip('/')}/{name}"

    def make(self) -> None:
        """Make the folder; an object store has none."""
        with told(self.place, "made"):
            if self.on_this_machine:
                os.makedirs(self.place, exist_ok=True)
                return
            system, path = system_of(self.place)
            if not is_object_store(system):
                system.makedirs(path, exist_ok=True)

    def need_own(self) -> None:
        """Raise StoreError for a link, which leads elsewhere: whoever may write beside it made it."""
        if self.on_this_machine and os.path.islink(self.place):
            raise StoreError(f"{self.place}: a link: nothing is written or taken away behind it")

    def unmake(self) -> None:
        """Take the folder away if there is nothing in it; an object store has none."""
        with contextlib.suppress(OSError):
            if self.on_this_machine:
                os.rmdir(self.place)
                return
            system, path = system_of(self.place)
            if not is_object_store(system) and not system.ls(path):
                system.rmdir(path)

    def names(self) -> list[str]:
        """Return what is in it, nothing where there is no such folder."""
        with told(self.place, "read"), contextlib.suppress(FileNotFoundError):
            if self.on_this_machine:
                return sorted(os.listdir(self.place))
            system, path = system_of(self.place)
            system.invalidate_cache()
            return sorted(each.rstrip("/").rpartition("/")[2] for each in system.ls(path, detail=False))
        return []

    def remove(self, names: Sequence[str]) -> None:
        with told(self.place, "emptied"):
            if self.on_this_machine:
                for name in names:
                    Path(self.place, name).unlink(missing_ok=True)
            elif names:
                system, path = system_of(self.place)
                system.rm([f"{path.rstrip('/')}/{name}" for name in names])

    @contextmanager
    def reading(self, name: str) -> Iterator[Any]:
        """Give what pyarrow reads from: a path, or an open file; raises FileNotFoundError as it is."""
        if self.on_this_machine:
            yield self._file(name)
            return
        system, path = system_of(self.named(name))
        with system.open(path, "rb") as file:
            yield file

    def read(self, name: str) -> bytes | None:
        """Return what is in a small file, None where there is none."""
        with told(self.named(name), "read"), contextlib.suppress(FileNotFoundError):
            if self.on_this_machine:
                return read_bounded(Path(self._file(name)), _SMALL_BYTES)
            system, path = system_of(self.named(name))
            data: bytes = system.cat_file(path)
            return data
        return None

    def _file(self, name: str) -> str:
        """Return its path; raises StoreError for a pipe, which would be waited for."""
        if not stat.S_ISREG(os.stat(self.named(name)).st_mode):
            raise StoreError(f"{self.named(name)}: not a file")
        return self.named(name)

    @contextmanager
    def whole(self, name: str) -> Iterator[Path]:
        """Give a path of this machine to write; what lies there in the end is what appears by that name."""
        if self.on_this_machine:
            with told(self.named(name), "written"):
                temporary = Path(self.place, f".{name}.{secrets.token_hex(4)}{_TEMPORARY}")
                try:
                    yield temporary
                    _sync(temporary)
                    temporary.replace(self.named(name))
                finally:
                    temporary.unlink(missing_ok=True)
            return
        with tempfile.TemporaryDirectory(prefix="dropsight-") as folder, told(self.named(name), "written"):
            written = Path(folder, name)
            yield written
            _put(written, self.named(name))

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file that is not there yet; return whether it is ours now."""
        with told(self.named(name), "written"):
            if self.on_this_machine:
                return _created(Path(self.named(name)), data)
            system, path = system_of(self.named(name))
            if system.exists(path):
                return False
            try:
                system.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except Exception:  # noqa: BLE001 - each library's own, where it knows no such condition
                system.pipe_file(path, data)
        return self.read(name) == data

    def sweep(self) -> None:
        """Take away what processes left that were killed while they wrote."""
        self.remove([name for name in self.names() if name.startswith(".") and name.endswith(_TEMPORARY)])


def is_object_store(system: Any) -> bool:  # noqa: ANN401 - fsspec's
    protocol = system.protocol
    return bool(_OBJECT_STORES & ({protocol} if isinstance(protocol, str) else set(protocol)))


def _put(file: Path, url: str) -> None:
    system, path = system_of(url)
    if is_object_store(system):
        system.put_file(str(file), path)
        return
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{secrets.token_hex(4)}{_TEMPORARY}"
    system.put_file(str(file), temporary)
    system.mv(temporary, path)


def _created(file: Path, data: bytes) -> bool:
    try:
        with file.open("xb") as opened:
            opened.write(data)
    except FileExistsError:
        return False
    except OSError:
        file.unlink(missing_ok=True)
        raise
    return True


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
