"""Which images are in progress, noted in a file that outlives the process.

One slot per thread: noting an image is one write of a few bytes to the page cache. It is no mapped memory,
which whoever truncates the file would turn into the end of the process. When the process dies, what its slots
held is what may have killed it. Whoever ends the process, or the machine, leaves the same notes: they are a
reason to try an image with care, and blame it only where it was in hand again and again.
"""

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

import msgspec

from dropsight.errors import StoreError
from dropsight.intake.starts import GOOD_SECONDS

log = logging.getLogger(__name__)

Stage: TypeAlias = Literal["find", "examine", "decode", "apart", "invoke", "record", "file", "alone"]
"""Apart: another process has it, and this one waits for that, or does what any picture has done."""

# Deaths by a fault of the process's own, as native code crashes.
CONVICTED_BY_CRASHES = 2
# Deaths, whoever has caused them: so many are only in a life that has lasted, where it was alone in hand.
CAUTIOUS, CONVICTED = 2, 4
# Those of the machine among them: power fails again and again, and an image that ends a machine is rare.
CONVICTED_BY_REBOOTS = 9
SLOT_BYTES = 64
SLOTS = 512
# Workers have the slots below, at most 64; suspects those from the middle on.
CLIPS, RECORDING, ALONE, FINDING, FILING, _BOOT, _SUSPECTS = 127, 128, 192, 193, 194, 255, 256
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ENTRY = re.compile(
    rb"(find|examine|decode|apart|invoke|record|file|alone) ([0-9])([0-9]?)([0-9]?) ([0-9a-f]{32})"
)
_ENTRY_OF = b"%%-%ds\n" % (SLOT_BYTES - 1)
_EMPTY = _ENTRY_OF % b"-"
_FRESH: dict[Stage, bytes] = {stage: b"%b 0 " % stage.encode() for stage in get_args(Stage)}
"""How entries begin of what has ended no process yet."""


Verdict: TypeAlias = Literal["survived", "died", "starved"]
"""Of a process that a suspect was tried in; it is starved that was given too little memory."""


class Suspect(msgspec.Struct, frozen=True):
    """An image that was in hand, at this stage last, when the process died so many times.

    `reboots` are deaths that the machine did not survive either, `crashes` those of the `deaths` that were a
    fault of the process's own.
    """

    stage: Stage
    deaths: int
    reboots: int = 0
    crashes: int = 0

    @property
    def ends(self) -> int:
        """Of any kind."""
        return self.deaths + self.reboots

    @property
    def needs_a_lasting_life(self) -> bool:
        """Until it is tried again: what ends start after start has no chance at it there."""
        return self.ends >= CAUTIOUS and self.crashes < CONVICTED_BY_CRASHES

    @property
    def is_guilty(self) -> bool:
        return self._excess(0)

    @property
    def is_untouchable(self) -> bool:
        """Even to say that it failed ended the process, or to find or file it."""
        return self._excess(0 if self.stage in {"find", "file"} else 1)

    def _excess(self, more: int) -> bool:
        """Whether there were so many more than it takes to be blamed."""
        return (
            self.crashes >= CONVICTED_BY_CRASHES + more
            or self.deaths >= CONVICTED + more
            or self.ends >= CONVICTED_BY_REBOOTS + more
        )


class InHand:
    """Suspects were in hand when an earlier life of the daemon ended, and have not got through since.

    `suspects` are by key, and most often none. Threads have slots by number, counted from 0. `crashed`: the
    last life has ended by a fault of its own. Raises StoreError where the file cannot be had.
    """

    def __init__(self, path: Path, *, crashed: bool = False) -> None:
        self._path, self._told = path, False
        self._lock = threading.Lock()
        """Who is late, as a thread that a disk held up, must not write to what has this number by then."""
        self._settled = self._over = False
        self._began, self._boot = time.monotonic(), _boot_id()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                self.suspects = _suspects(
                    os.pread(self._fd, SLOTS * SLOT_BYTES, 0), self._boot, crashed=crashed
                )
                os.ftruncate(self._fd, SLOTS * SLOT_BYTES)
                os.pwrite(self._fd, self._content(), 0)
            except OSError:
                os.close(self._fd)
                raise
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error
        self._places = {key: place for place, key in enumerate(self.suspects, _SUSPECTS)}

    def note(self, slot: int, path: str, stage: Stage) -> None:
        self._write(slot, _ENTRY_OF % (_FRESH[stage] + _key(path)))

    def note_all(self, slot: int, paths: Sequence[str], stage: Stage) -> None:
        """Note images in the slots from this one on."""
        self._write(slot, b"".join([_ENTRY_OF % (_FRESH[stage] + _key(path)) for path in paths]))

    def clear(self, slot: int, count: int = 1) -> None:
        self._write(slot, _EMPTY * count)

    def suspect(self, path: str) -> Suspect | None:
        return self.suspects.get(_key(path)) if self.suspects else None

    def settle(self, *, lasted: bool) -> None:
        """Note whether this life has lasted."""
        self._settled = lasted

    def may_try(self, suspect: Suspect) -> bool:
        """Whether it may be tried now, or refused; never what is untouchable."""
        return not suspect.is_untouchable and (self._settled or not suspect.needs_a_lasting_life)

    def seconds_of_rest(self) -> float:
        """Return after how long to ask again whether this life has lasted."""
        return max(GOOD_SECONDS - (time.monotonic() - self._began), 1.0)

    def acquit(self, path: str) -> None:
        """No longer a suspect: it got through, or is gone."""
        if self.suspects and (key := _key(path)) in self.suspects:
            del self.suspects[key]
            self.clear(self._places.pop(key))

    def acquit_all(self) -> None:
        """Whatever is noted, and will be while workers go on, does not end the process."""
        with self._lock, suppress(OSError):
            if not self._over:
                os.pwrite(self._fd, _EMPTY * _SUSPECTS, 0)
            self._over = True

    def close(self) -> None:
        """Whatever is still noted, or is to be from here on, did not end the process."""
        self.acquit_all()
        os.close(self._fd)

    def _content(self) -> bytes:
        noted = [
            _ENTRY_OF
            % (b"%b %d%d%d %b" % (each.stage.encode(), each.deaths, each.reboots, each.crashes, key))
            for key, each in self.suspects.items()
        ]
        unused = _EMPTY * (SLOTS - _SUSPECTS - len(noted))
        return _EMPTY * _BOOT + _ENTRY_OF % self._boot + b"".join(noted) + unused

    def _write(self, slot: int, entries: bytes) -> None:
        try:
            with self._lock:
                if not self._over:
                    os.pwrite(self._fd, entries, slot * SLOT_BYTES)
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            log.warning("%s cannot be written, so images in progress are not noted: %s", self._path, error)
        self._told = True


@lru_cache(maxsize=1024)
def _key(path: str) -> bytes:
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest().encode()


def _boot_id() -> bytes:
    try:
        return BOOT_ID.read_bytes().strip()[: SLOT_BYTES - 1] or b"-"
    except OSError:
        return b"-"


def _suspects(content: bytes, boot: bytes, *, crashed: bool) -> dict[bytes, Suspect]:
    """Who is suspected now: of those in hand at the end, each has one death more."""
    middle = _SUSPECTS * SLOT_BYTES
    noted_boot = content[_BOOT * SLOT_BYTES : middle].strip()
    rebooted = not crashed and not {noted_boot, boot} & {b"", b"-"} and noted_boot != boot
    found: dict[bytes, Suspect] = {}
    for entry in _ENTRY.finditer(content, middle):
        stage, counts = cast("Stage", entry[1].decode()), [int(count or 0) for count in entry.groups()[1:4]]
        found[entry[5]] = Suspect(stage, *counts)
    before = dict(found)
    for entry in _ENTRY.finditer(content[:middle]):
        key, stage = entry[5], cast("Stage", entry[1].decode())
        if stage == "alone" and key in found and found[key] is not before.get(key):
            continue  # its thread knew better how far it was
        found.pop(key, None)
        found[key] = _once_more(before.get(key), stage, rebooted=rebooted, crashed=crashed)
    return dict(list(found.items())[-(SLOTS - _SUSPECTS) :])


def _once_more(before: Suspect | None, stage: Stage, *, rebooted: bool, crashed: bool) -> Suspect:
    before = before or Suspect(stage, 0)
    return Suspect(
        stage,
        deaths=min(before.deaths + (not rebooted), 9),
        reboots=min(before.reboots + rebooted, 9),
        crashes=min(before.crashes + (crashed and stage != "apart"), 9),
    )
