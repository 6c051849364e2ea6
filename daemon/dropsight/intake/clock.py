"""How old a file is, even if the wall clock has jumped since: a Pi has no real-time clock.

File systems stamp by the wall clock. Each jump of it ends an epoch; within one, stamps and the monotonic
clock tell the same. Epochs are kept over restarts, of this process and of the machine: else what was
stamped without a clock would be taken for very old in the next life.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.files.disk import write_whole
from dropsight.version import RELEASED

log = logging.getLogger(__name__)

NAME = "clock.json"
JUMP_SECONDS = 2.0
MOST_EPOCHS = 64
BOOT = Path("/proc/sys/kernel/random/boot_id")


class _Epoch(msgspec.Struct, frozen=True):
    """From and to in wall seconds; `offset` is wall less monotonic."""

    begin: float
    end: float
    offset: float


class _Past(msgspec.Struct, frozen=True):
    """An epoch in wall seconds; `behind` is by how much the clock was, judged by the newest one."""

    begin: float
    end: float
    behind: float


class _Notes(msgspec.Struct, frozen=True):
    """`begin` and `offset` are of the newest epoch, in the life of the machine that `boot` names."""

    boot: str
    begin: float
    offset: float
    past: list[_Past]


class Clock:
    """Thread-safe. `look` must be called now and then, so that a jump is noticed while it matters."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        kept: Path | None = None,
        boot: str = "",
    ) -> None:
        self.wall, self.monotonic = wall, monotonic
        self.kept, self.boot = kept, boot
        self._lock = threading.Lock()
        self._epochs: list[_Epoch] = []
        self._begin, self._started = wall(), monotonic()
        self._first = self._offset = self._begin - self._started
        if kept:
            self._recall(kept)
            self._note()

    @classmethod
    def open(cls, state: Path) -> "Clock":
        """Go on with what is noted in this folder."""
        try:
            boot = BOOT.read_text().strip()
        except OSError:
            boot = ""
        return cls(kept=state / NAME, boot=boot)

    def look(self) -> None:
        with self._lock:
            offset = self.wall() - self.monotonic()
            if abs(offset - self._offset) > JUMP_SECONDS:
                self._epochs.insert(0, _Epoch(self._begin, self.monotonic() + self._offset, self._offset))
                self._begin, self._offset = self.wall(), offset
                self._note()
            self._offset = offset

    def since(self, stamp: float) -> float:
        """Return when, in monotonic seconds, a file with this stamp was written; never later than now.

        What is older than the epochs that are known is taken to be as old as the clock said at the start of
        this process; of a time before our release nothing is known, it counts from that start.
        """
        now = self.monotonic()
        if not self._begin - JUMP_SECONDS <= stamp <= now + self._offset:
            for epoch in self._epochs:
                if epoch.begin - JUMP_SECONDS <= stamp <= epoch.end + JUMP_SECONDS:
                    return min(stamp - epoch.offset, now)
            return self._started if stamp < RELEASED else min(stamp - self._first, now)
        return stamp - self._offset

    def age_seconds(self, stamp: float) -> float:
        return self.monotonic() - self.since(stamp)

    def _recall(self, path: Path) -> None:
        notes = _load(path)
        if notes is None:
            return
        newest = self._offset
        if notes.boot == self.boot != "":
            newest = notes.offset
            if abs(self._offset - newest) <= JUMP_SECONDS:
                self._begin = min(self._begin, notes.begin)
            else:  # it has jumped while nobody looked
                self._epochs.append(_Epoch(notes.begin, self.monotonic() + newest, newest))
        self._epochs += [_Epoch(past.begin, past.end, newest - past.behind) for past in notes.past]

    def _note(self) -> None:
        if self.kept is None:
            return
        del self._epochs[MOST_EPOCHS:]
        past = [_Past(each.begin, each.end, self._offset - each.offset) for each in self._epochs]
        notes = _Notes(self.boot, self._begin, self._offset, past)
        try:
            write_whole(self.kept, msgspec.json.encode(notes))
        except OSError as error:
            log.warning("%s cannot be written: %s", self.kept, error.strerror)


def _load(path: Path) -> _Notes | None:
    try:
        return msgspec.json.decode(read_bounded(path, STATE_BYTES), type=_Notes)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        log.warning("%s is not readable, so earlier clock jumps are unknown: %s", path, error)
        return None
