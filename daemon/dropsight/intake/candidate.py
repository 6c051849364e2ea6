"""A path that may be an image to take, on its way."""

import os
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Literal

import msgspec

from dropsight.intake.folder import DropFolder
from dropsight.intake.postponed import Line
from dropsight.intake.tagging import TagFile

_PIECE_BYTES = 2**20
# FAT keeps times to two seconds.
COARSEST_NS = 2 * 10**9
# And exFAT to this.
_GRAIN_NS = 10**7
# Whose time its uploader may yet set, as FTP does after it has closed it (MFMT).
YOUNG_SECONDS = 10.0

Place = Literal["queued", "postponed", "in_hand", "aside"]
Signature = tuple[int, int, int]  # inode, size, mtime_ns


class Candidate(msgspec.Struct, eq=False):
    """A path that may be an image to take. Only the thread that has it in hand changes it.

    `closed`: a writer closed the file and no other sign has come since. `ready_at`: monotonic seconds.
    `signature` and `still_since` tell for how long the file has not changed, `since` when it came to be.
    """

    folder: DropFolder
    path: str
    closed: bool
    ready_at: float
    place: Place = "queued"
    due: float = 0.0
    again: bool = False
    closed_again: bool = False
    renewed: bool = False
    """Whether it was written over, as it seems, since it was taken in hand."""
    held_by_writer: bool = False
    signature: Signature | None = None
    grew: bool = False
    """Whether it was seen to be written to: an upload, which may break off and be gone on with."""
    renamed: bool = False
    """Whether its last sign was a rename into its place, as of those who have finished."""
    broken_off: Signature | None = None
    """As it was when it was found to be a part of an upload, which may be gone on with `patient_until`."""
    patient_until: float = 0.0
    still_since: float = 0.0
    since: float = 0.0
    found_at: float = 0.0
    """When it was heard of first, however often it was not ready since; in monotonic seconds."""
    digest: bytes | None = None
    """Of its content as it was read, where one `wants_digest`."""
    sidecar: TagFile | None = None
    """What lies beside it, where `watch[].sidecar_wait_seconds` asks for that."""
    shortages: int = 0
    """How often there was no memory for it."""
    lacks: bool = False
    """Whether it waits for what the machine lacked when it was tried last."""
    ahead: object = None
    """What a worker that was relieved meanwhile has read of it."""
    counted: bool = True
    """Not so where an earlier life recorded it, and only filing it away is left."""
    holds: int = 0
    """How many records of an earlier life it is held for."""

    inbox: tuple[int, int] | None = None
    """Device and inode of the inbox that it was found in, where that is known."""

    is_clip: bool = False
    """Whether it is in the lane of clips: by its name, until its content tells otherwise."""

    _camera: str | None = None
    _relative: str | None = None

    def __post_init__(self) -> None:
        self.is_clip, self.found_at = self.folder.names_clip(self.path), self.ready_at

    @property
    def camera(self) -> str:
        if self._camera is None:
            self._camera = self.folder.camera(self.path)
        return self._camera

    @property
    def relative(self) -> str:
        """Its path below the watched folder."""
        if self._relative is None:
            self._relative = self.folder.relative(self.path)
        return self._relative

    def came_at(self, stat: os.stat_result, age_of: Callable[[float], float]) -> float:
        """Return when all of it had come, in monotonic seconds: it may have been written to for long `since`.

        Where its time of change may be another, that is when it was found.
        """
        if self.folder.shares.may_tell_no_arrival(stat):
            return self.ready_at
        return max(self.since, time.monotonic() - age_of(stat.st_ctime))

    @property
    def line(self) -> Line:
        return self.folder, self.camera


def digest_of_open(fd: int, *, gets_on: Callable[[], None] = lambda: None) -> bytes:
    """Return what `digest_of` says of an open file's content, which is not read into memory.

    What its writer appends meanwhile is left out, else it might have no end. `gets_on` is called with each
    piece: of a large one on a slow disk it takes minutes.
    """
    found, place, size = blake2b(digest_size=16), 0, os.fstat(fd).st_size
    while piece := os.pread(fd, min(_PIECE_BYTES, size - place), place):
        found.update(piece)
        place += len(piece)
        gets_on()
    return found.digest()


def digest_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def has_coarse_time(stat: os.stat_result) -> bool:
    """Whether it may be written over within the same time, as on FAT, or where FTP sets it (MFMT)."""
    return stat.st_mtime_ns % 10**9 == 0


def wants_digest(candidate: Candidate, stat: os.stat_result, *, age_seconds: float) -> bool:
    """Whether size and time may not tell, later, that it is what was read, or of what it is a copy."""
    stays = candidate.folder.settings.after == "keep"
    # A share may tell the time of the picture before, for a second or two.
    is_early = age_seconds < YOUNG_SECONDS or candidate.folder.shares.hold(stat)
    return stays or is_early or stat.st_mtime_ns % _GRAIN_NS == 0
