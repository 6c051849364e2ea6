"""What one dropsight alone may have at a time: locks that the kernel takes back however a process ends.

Whoever may read a file may lock it, so journal and log have lock files that nobody else can open. What SQLite
locks itself is nobody else's to open, either.
"""

import fcntl
import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dropsight.errors import ConfigError, InUseError, OwnersLockError, StoreError, is_passing, reason
from dropsight.names import as_text

log = logging.getLogger(__name__)

_CREDENTIALS = struct.Struct("3i")


@contextmanager
def sole_user(path: Path, key: str) -> Iterator[None]:
    """Hold the lock beside a file, which nobody else can open.

    Raises InUseError where another dropsight has it, StoreError or ConfigError where there can be no lock.
    """
    fd = _open_lock(path, key)
    try:
        if not _lock(fd):
            raise InUseError(f"{key}: {path} is in use by another dropsight, which has to end first")
        yield
    finally:
        os.close(fd)


def _open_lock(path: Path, key: str) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.fstat(fd).st_uid == os.geteuid():
            os.fchmod(fd, 0o600)  # earlier versions let others read it
    except OSError as error:
        text = f"{key}: {lock} cannot be written: {reason(error)}"
        raise (StoreError(text) if is_passing(error) else ConfigError([text])) from error
    return fd


def keep_from_others(database: Path) -> None:
    """Let nobody else open a database, which is made where there is none; what fails, SQLite says better.

    By its name: to close a descriptor of it would give up the locks that SQLite has.
    """
    with suppress(OSError):
        with suppress(FileExistsError):
            os.close(os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        found = database.stat()
        if found.st_uid == os.geteuid() and found.st_mode & 0o077:  # earlier versions let others read it
            database.chmod(0o600)


class InboxLock:
    """Held by a name in the kernel for device and inode: an open folder would keep its disk from going.

    Strangers are not waited for: anybody can take a name first, and could hold up everything.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._held: socket.socket | None = None
        self._of: tuple[int, int] | None = None

    def renew(self) -> None:
        """Hold it for the folder that is there now, if one is.

        Raises InUseError where another dropsight watches it, OwnersLockError where that is of the folder's
        owner or only looks like one, ConfigError where this one watches it by another name.
        """
        try:
            stat = os.stat(self._folder)
        except OSError:
            return
        if self._of == (stat.st_dev, stat.st_ino):
            return
        self.release()
        name = f"\0dropsight-inbox-{stat.st_dev:x}-{stat.st_ino:x}"
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            held.bind(name)
            held.listen()
        except OSError:
            held.close()
            self._judge_holder(name, stat)
        else:
            self._held = held
        self._of = (stat.st_dev, stat.st_ino)

    def release(self) -> None:
        """Let others have it."""
        if self._held:
            self._held.close()
        self._held = self._of = None

    def _judge_holder(self, name: str, stat: os.stat_result) -> None:
        process, user = _holder(name)
        if process == os.getpid() and user == os.geteuid():  # a stranger tells any number
            raise ConfigError([f"watch: {self._folder} is already watched under another name; watch it once"])
        if user in {0, os.geteuid(), stat.st_uid}:
            who = f"another dropsight{f' (process {process})' if process > 0 else ''}"
            kind = InUseError if user in {0, os.geteuid()} else OwnersLockError
            raise kind(f"watch: {self._folder} is already watched by {who}, which has to end first")
        stranger = "a user without write permission holds its lock, so another dropsight could watch it, too"
        log.warning("%s: %s", as_text(self._folder), stranger)


def _holder(name: str) -> tuple[int, int]:
    """Return process and user of who listens there; -1 for both where nobody tells."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asks:
        asks.setblocking(False)
        try:
            asks.connect(name)
        except OSError:
            return -1, -1
        process, user, _ = _CREDENTIALS.unpack(
            asks.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
    return process, user


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
