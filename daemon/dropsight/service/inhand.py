"""Which images are being worked on at this instant, in a file that outlives the process.

A slot a thread, in mapped memory: noting an image costs a copy of a few bytes and no system call. When
the process dies, what its slots held is what may have killed it.
"""

import mmap
import os
import re
from pathlib import Path
from typing import Literal, TypeAlias, cast

from dropsight.errors import StoreError

Stage: TypeAlias = Literal["decode", "invoke"]

SLOT_BYTES = 64
SLOTS = 256
_ENTRY = re.compile(rb"(decode|invoke) ([0-9a-f]{32})")
_EMPTY = b"-".ljust(SLOT_BYTES - 1) + b"\n"


class InHand:
    """`suspects` were in hand when an earlier life of the daemon ended, and were not cleared since.

    Threads have slots by number, counted from 0; a suspect keeps one from the other end until it is
    cleared. Raises StoreError where the file cannot be had.
    """

    def __init__(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self.suspects = _suspects(os.pread(fd, SLOTS * SLOT_BYTES, 0))
                # Written, not left a hole: a store into a hole on a full disk is a SIGBUS.
                os.pwrite(fd, _EMPTY * SLOTS, 0)
                self._slots = mmap.mmap(fd, SLOTS * SLOT_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error
        self._places = {record_id: SLOTS - 1 - place for place, record_id in enumerate(self.suspects)}
        for record_id, place in self._places.items():
            self.note(place, record_id, self.suspects[record_id])

    def note(self, slot: int, record_id: str, stage: Stage) -> None:
        entry = f"{stage} {record_id}".encode().ljust(SLOT_BYTES - 1) + b"\n"
        self._slots[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = entry

    def clear(self, slot: int) -> None:
        self._slots[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = _EMPTY

    def acquit(self, record_id: str) -> None:
        """No longer a suspect: it was tried by itself, and is on its way to a record."""
        if self.suspects.pop(record_id, None):
            self.clear(self._places.pop(record_id))

    def close(self) -> None:
        self._slots.close()


def _suspects(content: bytes) -> dict[str, Stage]:
    found = ((entry[2].decode(), cast("Stage", entry[1].decode())) for entry in _ENTRY.finditer(content))
    return dict(list(found)[: SLOTS // 2])
