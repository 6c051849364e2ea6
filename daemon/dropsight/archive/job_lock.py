"""One driver at a time on a target: a file there that says who, and beats as long as that one lives.

On a disk it is made by the kernel for one alone, on stores that know conditional PUTs (S3, and who speaks as
it does) too. On others, two that begin within the same second may both believe that they were first; each
beat looks who the file is of, so that one of them ends within `_BEAT_SECONDS`. Meanwhile both write the same
parts, each whole.
"""

import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import msgspec

from dropsight.archive.storage import Storage
from dropsight.errors import InUseError, StoreError

log = logging.getLogger(__name__)

NAME = "job.lock"
_BEAT_SECONDS = 10.0
_PATIENCE_SECONDS = 35.0
_LOOK_SECONDS = 1.0
_MOST_TRIES = 5


class Holder(msgspec.Struct, frozen=True):
    """Whose the lock is; `pid` says something only within `system`, a boot and a space of process ids."""

    host: str
    system: str
    pid: int
    started: str
    token: str
    beats: int = 0

    @classmethod
    def ourselves(cls) -> "Holder":
        pid = os.getpid()
        return cls(socket.gethostname(), _system(), pid, _started(pid) or "", secrets.token_hex(8))

    @property
    def shown(self) -> str:
        return f"process {self.pid} on {self.host}"


class SoleDriver:
    """Ours, until it is closed; `lost` once somebody else has taken it, who had not seen it beat for long."""

    def __init__(self, storage: Storage, holder: Holder) -> None:
        self._storage, self._holder = storage, holder
        self._closed = Event()
        self.lost = False
        self._thread = Thread(target=self._beat, name="job lock", daemon=True)
        self._thread.start()

    def need(self) -> None:
        """Raise InUseError where it is lost."""
        if self.lost:
            raise InUseError(
                f"{self._storage.named(NAME)}: another driver has taken over this job, as this one did not "
                "move for long"
            )

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        with contextlib.suppress(StoreError):  # it is found to stand still
            if not self.lost and self._is_ours():
                self._storage.remove([NAME])

    def _beat(self) -> None:
        while not self._closed.wait(_BEAT_SECONDS):
            with contextlib.suppress(StoreError):  # what cannot be written now may be next time
                if not self._is_ours():
                    self.lost = True
                    return
                self._holder = msgspec.structs.replace(self._holder, beats=self._holder.beats + 1)
                with self._storage.whole(NAME) as file:
                    file.write_bytes(msgspec.json.encode(self._holder))

    def _is_ours(self) -> bool:
        found = _decoded(self._storage.read(NAME))
        return found is not None and found.token == self._holder.token


@contextmanager
def sole_driver(storage: Storage, *, stopped: Callable[[], bool]) -> Iterator[SoleDriver]:
    """Hold the lock of a target; raises InUseError where somebody else does, StoreError.

    One that is left of a process that has ended is taken over: at once on the same machine, else when it has
    stood still for `_PATIENCE_SECONDS`.
    """
    ours = Holder.ourselves()
    for _ in range(_MOST_TRIES):
        if storage.create(NAME, msgspec.json.encode(ours)):
            break
        _wait_for_end(storage, stopped)
    else:
        raise InUseError(f"{storage.named(NAME)}: other drivers keep locking it")
    driver = SoleDriver(storage, ours)
    try:
        yield driver
    finally:
        driver.close()


def driver_at(storage: Storage) -> Holder | None:
    """Return who is at work there, as far as it can be told at once; raises StoreError."""
    holder = _decoded(storage.read(NAME))
    return None if holder and holder.system == _system() and not _is_alive(holder) else holder


def _wait_for_end(storage: Storage, stopped: Callable[[], bool]) -> None:
    """Remove a lock whose holder has ended; raises InUseError where it lives."""
    found = storage.read(NAME)
    if found is None:
        return
    holder = _decoded(found)
    if holder and holder.system and holder.system == _system():
        is_alive = _is_alive(holder)
    else:
        is_alive = _is_beating(storage, found, holder, stopped)
    if is_alive:
        who = holder.shown if holder else "somebody"
        raise InUseError(f"{storage.place}: another driver is running there, {who}: wait for it, or stop it")
    if storage.read(NAME) == found:
        storage.remove([NAME])


def _is_beating(storage: Storage, found: bytes, holder: Holder | None, stopped: Callable[[], bool]) -> bool:
    """Watch it: clocks of two machines are not compared."""
    who = f"of {holder.shown}" if holder else "of an unknown owner"
    log.warning(
        "%s: a lock %s: waiting %.0f s for a sign of life", storage.named(NAME), who, _PATIENCE_SECONDS
    )
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        if stopped():
            raise KeyboardInterrupt
        time.sleep(_LOOK_SECONDS)
        now = storage.read(NAME)
        if now != found:
            return now is not None
    return False


def _is_alive(holder: Holder) -> bool:
    return _started(holder.pid) == holder.started


def _decoded(data: bytes | None) -> Holder | None:
    with contextlib.suppress(ValueError, RecursionError):
        return msgspec.json.decode(data or b"", type=Holder)
    return None


def _system() -> str:
    """Return what two processes share that can tell of each other whether they live; empty where unknown."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks, None where there is none: numbers come back."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]
