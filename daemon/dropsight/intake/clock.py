"""How old a file is, even if the wall clock has jumped since: a Pi has no real-time clock.

File systems stamp by the wall clock. Each jump of it ends an epoch; within one, stamps and the monotonic
clock tell the same. Epochs are kept over restarts, of this process and of the machine: else what was
stamped without a clock would be taken for very old in the next life.

After a boot with a clock that is far ahead of what it was last, or with one that has never been set, and at
a jump ahead, nobody knows whether the machine was off for so long, or its clock is wrong. Until that is
known, the time in between counts for nothing.
"""

import ctypes
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
# Ahead of when it was last seen, after a boot.
FAR_SECONDS = 3_600.0
# Ahead, at one jump: a clock that stood while the machine was off, and is set by a network that we cannot
# ask, jumps by less.
FAR_JUMP_SECONDS = 30 * 86_400.0
# Between two notes of what time it is.
NOTED_SECONDS = 600.0
# A clock that has not jumped for so long is believed though nothing has set it.
BELIEVED_SECONDS = 86_400.0
_TIME_ERROR, _TIMEX_BYTES = 5, 512  # adjtimex(2): not synchronized; more than its struct has
SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")
BOOT = Path("/proc/sys/kernel/random/boot_id")


class _Epoch(msgspec.Struct, frozen=True):
    """From and to in wall seconds; `offset` is wall less monotonic."""

    begin: float
    end: float
    offset: float


class _Past(msgspec.Struct, frozen=True):
    """An epoch in wall seconds; `behind` is by how much the clock was, judged by what counts now."""

    begin: float
    end: float
    behind: float


class _Notes(msgspec.Struct, frozen=True):
    """`begin` and `offset` are of the newest epoch, in the life of the machine that `boot` names.

    `seen` is what time it was last; `trusted` the offset that counts while that of the clock is in doubt;
    `jumped_at` when it jumped last, in monotonic seconds.
    """

    boot: str
    begin: float
    offset: float
    past: list[_Past]
    seen: float = 0.0
    trusted: float | None = None
    jumped_at: float = 0.0


def is_set(since: float) -> bool:
    """Whether the network has set the clock since then: by the word of the kernel, or of systemd-timesyncd.

    The unit's sandbox does not let us ask the kernel, which takes its word back where anybody sets the clock.
    """
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex and 0 <= adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) < _TIME_ERROR:
        return True
    return is_set_by_timesyncd(since)


def is_set_by_timesyncd(since: float) -> bool:
    """It touches a file each time, which stays where the clock is set by somebody else after that."""
    try:
        return SYNCHRONIZED.stat().st_mtime >= since
    except OSError:
        return False


class Clock:
    """Thread-safe. `look` must be called now and then, so that a jump is noticed while it matters."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        kept: Path | None = None,
        boot: str = "",
        is_set: Callable[[float], bool] = is_set,
    ) -> None:
        self.wall, self.monotonic = wall, monotonic
        self.kept, self.boot, self._is_set = kept, boot, is_set
        self._lock = threading.Lock()
        self._epochs: list[_Epoch] = []
        self._looked_at = self._jumped_at = self._started = monotonic()
        self._former = self._offset = self._begin = wall() - self._started
        """Wall less monotonic: by the first is judged what was written before this boot."""
        self._trusted: float | None = None
        self._noted_at = 0.0
        if kept:
            self._recall(kept)
            self.look()
            self._note()

    @classmethod
    def open(cls, state: Path) -> "Clock":
        """Go on with what is noted in this folder."""
        try:
            boot = BOOT.read_text().strip()
        except OSError:
            boot = ""
        return cls(kept=state / NAME, boot=boot)

    @property
    def doubt(self) -> str | None:
        """Why what the clock says of the time before this boot counts for nothing as yet."""
        if self._trusted is None or self._offset <= self._trusted:
            return None
        days = (self._offset - self._trusted) / 86_400
        return (
            f"the clock is {days:.1f} days ahead of when dropsight ran last, which nobody has confirmed: "
            "nothing is deleted or expired for that time until the network has set it (see timedatectl), "
            "or for a day"
        )

    def look(self) -> None:
        with self._lock:
            offset = self.wall() - self.monotonic()
            if jumped := abs(offset - self._offset) > JUMP_SECONDS:
                self._turn(offset)
            self._offset, self._looked_at = offset, self.monotonic()
            believed = self._is_believed()
            if believed:
                self._former, self._trusted = self._offset, None
            if jumped or believed or self.monotonic() - self._noted_at >= NOTED_SECONDS:
                self._note()

    def _turn(self, offset: float) -> None:
        """Begin another epoch; what was written just before this look may be of either."""
        self._trusted = self._doubt_jump(offset)
        self._epochs.insert(0, _Epoch(self._begin, self.monotonic() + self._offset, self._offset))
        self._begin, self._jumped_at = self._looked_at + offset, self.monotonic()

    def _doubt_jump(self, offset: float) -> float | None:
        """Return by what the next start is to judge where that is not by the new offset."""
        counts = min(self._former, self._offset)
        if self._trusted is not None:
            if self._is_plausible(self._offset):  # it was in doubt already
                return self._trusted
            counts = self._trusted
        far = offset - counts > FAR_JUMP_SECONDS or not self._is_plausible(offset)
        return counts if far and self._is_plausible(counts) else None

    def _is_plausible(self, offset: float) -> bool:
        return self.monotonic() + offset >= RELEASED

    def _is_believed(self) -> bool:
        """Whether by this clock may be judged what was written before this boot, where it is not yet."""
        ahead = self._offset - (self._former if self._trusted is None else self._trusted)
        if not self._is_plausible(self._offset) or (self._trusted is None and ahead <= JUMP_SECONDS):
            return False
        stood = self.monotonic() - self._jumped_at
        return ahead <= FAR_SECONDS or stood >= BELIEVED_SECONDS or self._is_set(self._begin)

    def since(self, stamp: float) -> float:
        """Return when, in monotonic seconds, a file with this stamp was written; never later than now.

        What is older than the epochs that are known is taken to be as old as the clock says that was believed
        last; of a time before our release nothing is known, it counts from the start of this process.
        """
        now = self.monotonic()
        if not self._begin - JUMP_SECONDS <= stamp <= now + self._offset:
            for epoch in self._epochs:
                if epoch.begin - JUMP_SECONDS <= stamp <= epoch.end + JUMP_SECONDS:
                    return min(stamp - epoch.offset, now)
            if stamp < RELEASED:
                return self._started
            latest = now if self._trusted is None or stamp > self._begin else self._started
            return min(stamp - self._former, latest)
        return stamp - self._offset

    def age_seconds(self, stamp: float) -> float:
        return self.monotonic() - self.since(stamp)

    def _recall(self, path: Path) -> None:
        notes = _load(path)
        if notes is None:
            return
        same_boot = notes.boot == self.boot != ""
        if same_boot:
            self._begin, self._offset, self._trusted = notes.begin, notes.offset, notes.trusted
        elif notes.seen >= RELEASED and self._is_odd_after(notes.seen):
            # As if it had begun to run again just then.
            self._trusted = notes.seen - self._started
        self._former = self._offset if self._trusted is None else self._trusted
        if same_boot:  # it may have jumped at any time since, while nobody looked
            self._looked_at, self._jumped_at = max(notes.seen - self._former, 0.0), notes.jumped_at
        self._epochs += [_Epoch(past.begin, past.end, self._former - past.behind) for past in notes.past]

    def _is_odd_after(self, seen: float) -> bool:
        return self._offset - seen > FAR_SECONDS or not self._is_plausible(self._offset)

    def _note(self) -> None:
        if self.kept is None:
            return
        del self._epochs[MOST_EPOCHS:]
        counts = self._offset if self._trusted is None else self._trusted
        past = [_Past(each.begin, each.end, counts - each.offset) for each in self._epochs]
        self._noted_at = self.monotonic()
        seen = self._noted_at + counts
        notes = _Notes(self.boot, self._begin, self._offset, past, seen, self._trusted, self._jumped_at)
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
