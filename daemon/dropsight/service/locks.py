"""What one dropsight alone may have at a time: locks that the kernel takes back however a process ends.

Whoever may read a file may lock it, so what others may read is judged by who holds its lock.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dropsight.errors import ConfigError, InUseError, StoreError, is_passing, reason
from dropsight.names import as_text

log = logging.getLogger(__name__)


@contextmanager
def sole_user(path: Path, key: str) -> Iterator[None]:
    """Hold the lock beside a file, which nobody else can open.

    Raises InUseError where another dropsight has it, StoreError or ConfigError where there can be no lock.
    """
    fd = _open_lock(path, key)
    try:
        if not _lock(fd):
            raise InUseError(f"{key}: {path} is in use by another dropsight: waiting for it to end")
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


@contextmanager
def sole_watcher(folder: str) -> Iterator[None]:
    """Hold the lock of a folder; raises InUseError where another dropsight watches it.

    It is not waited for strangers: they get their hands on a folder that they may read, and could hold up
    everything. A file system that knows no locks on folders (network shares) is trusted.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            if not _lock(fd):
                _judge_holders(folder, os.fstat(fd))
        except OSError as error:
            log.debug("%s cannot be locked: %s", folder, error)
        yield
    finally:
        os.close(fd)


def _judge_holders(folder: str, stat: os.stat_result) -> None:
    holders = _holders(stat)
    if os.getpid() in holders:
        raise ConfigError([f"watch: {folder} is watched by another name already; watch it once"])
    if {0, os.geteuid(), stat.st_uid} & set(holders.values()):
        raise InUseError(f"watch: {folder} is watched by another dropsight already: waiting for it to end")
    stranger = "somebody without a right to it holds its lock, so another dropsight could watch it, too"
    log.warning("%s: %s", as_text(folder), stranger)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holders(locked: os.stat_result) -> dict[int, int]:
    """Return the users of the processes that hold this lock, as far as they can be seen from here.

    By the inode alone: which device the kernel names depends on the file system (btrfs, overlays).
    """
    users: dict[int, int] = {}
    for line in Path("/proc/locks").read_text().splitlines():
        # "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; an arrow behind the number is one who waits
        _, kind, *_, process, place, _, _ = line.split()
        if kind == "FLOCK" and place.rpartition(":")[2] == str(locked.st_ino):
            with contextlib.suppress(OSError):  # gone, or not ours to see
                users[int(process)] = os.stat(f"/proc/{process}").st_uid
    return users
