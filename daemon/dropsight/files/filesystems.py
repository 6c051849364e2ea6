"""Which file systems a folder lies on."""

import ctypes
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# File systems on which what another machine does raises no event here.
_REMOTE = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "vboxsf",
    "virtiofs",
    "afs",
    "glusterfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ocfs2",
    "gfs2",
    "orangefs",
    "coda",
    "vmhgfs",
    "prl_fs",
    "fakeowner",
}

_FAT = {"msdos", "vfat", "exfat", "fuseblk"}
MOUNTS = Path("/proc/self/mountinfo")
FSTAB = "/etc/fstab"
# By the numbers of statfs(2): tmpfs, ramfs.
_IN_MEMORY = {0x01021994, 0x858458F6}
_STATFS_BYTES = 256
# The table of mounts is read again after so long: it tells of a share without touching it.
LOOK_SECONDS = 1.0

_libc = ctypes.CDLL(None)


def _is_remote(kind: str) -> bool:
    """FUSE is, unless it has a disk of its own (fuseblk): others write to the store or folder behind it."""
    return kind in _REMOTE or kind == "fuse" or kind.startswith("fuse.")


def lies_in_memory(fd: int) -> bool:
    """Whether what is written to this folder or file stays in memory, and counts as the writer's."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(fd, found):
        return False
    kind = int.from_bytes(found.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
    return kind & 0xFFFFFFFF in _IN_MEMORY


def room_in_memory(folder: Path) -> int:
    """Return how many bytes a folder, there or yet to be made, can take of the memory; raises OSError."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    fd = os.open(there, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstatvfs(fd)
        return found.f_bavail * found.f_frsize if lies_in_memory(fd) else 0
    finally:
        os.close(fd)


def is_shared(folder: str) -> bool:
    """Whether others may write there, or below, of whom no event tells."""
    return any(_is_remote(kind) for kind in file_systems(folder))


def numbers_anew(folder: str) -> bool:
    """Whether a file there may be given another number, as after a rename, or once the kernel forgot it."""
    return any(_is_remote(kind) or kind in _FAT for kind in file_systems(folder))


def _devices_of(is_wanted: Callable[[str], bool]) -> frozenset[int]:
    """Return the numbers (`st_dev`) of all that is mounted of such kinds, without touching any."""
    devices = set[int]()
    for line in MOUNTS.read_bytes().splitlines():
        if is_wanted(line.partition(b" - ")[2].split()[0].decode()):
            major, _, minor = line.split()[2].partition(b":")
            devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)


def mounts_about(folder: str) -> frozenset[bytes]:
    """Return what the kernel says of the mounts at this folder, below it and on the way to it."""
    here = os.fsencode(folder.rstrip("/") + "/")
    return frozenset(
        line
        for line in MOUNTS.read_bytes().splitlines()
        if (point := _unescaped(line.split()[4]).rstrip(b"/") + b"/").startswith(here)
        or here.startswith(point)
    )


def unmounted_above(path: Path) -> str | None:
    """Name the mount point at or above this that the machine's table names, and where nothing is mounted."""
    here = os.fsencode(os.path.realpath(path)) + b"/"
    try:
        lines = Path(FSTAB).read_bytes().splitlines()
    except OSError:
        return None
    fields = [line.split() for line in lines if not line.lstrip().startswith(b"#")]
    wanted = {b"/" + _unescaped(row[1]).strip(b"/") for row in fields if row[1:] and row[1].startswith(b"/")}
    above = {point for point in wanted - {b"/"} if here.startswith(point + b"/")}
    missing = above - {_unescaped(line.split()[4]) for line in MOUNTS.read_bytes().splitlines()}
    return os.fsdecode(max(missing, key=len)) if missing else None


def file_systems(folder: str) -> set[str]:
    """Name the types of the file systems that hold this folder and what is mounted below it.

    Which one holds it only the kernel knows: mounts are stacked, and hidden by later ones above them.
    """
    below = os.fsencode(folder.rstrip("/") + "/")
    holder = _mount_id(folder)
    kinds: set[str] = set()
    for line in MOUNTS.read_bytes().splitlines():
        mount, _, _, _, point, *_ = line.split()
        if mount == holder or _unescaped(point).startswith(below):
            kinds.add(line.partition(b" - ")[2].split()[0].decode())
    return kinds


def _mount_id(folder: str) -> bytes | None:
    """None where the folder is away."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        facts = dict(line.split(b":") for line in Path(f"/proc/self/fdinfo/{fd}").read_bytes().splitlines())
        return facts[b"mnt_id"].strip()
    finally:
        os.close(fd)


def _unescaped(point: bytes) -> bytes:
    """Take back the kernel's octal numbers for spaces, tabs, line ends and backslashes."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), point)


class Shares:
    """What is known of network shares, whose writers and clock are not this machine's. Thread-safe."""

    def __init__(self) -> None:
        self._devices: frozenset[int] = frozenset()
        self._fat: frozenset[int] = frozenset()
        self._next_look = 0.0
        self._latest: dict[int, tuple[float, float]] = {}
        """By device, the latest time of a change that was seen there, and when, in monotonic seconds."""

    def hold(self, stat: os.stat_result) -> bool:
        """Whether this file is on one: a lease there tells of a share's own ways, not of who writes."""
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            with suppress(OSError):  # no descriptor is to be had: those of before are still there
                self._devices, self._fat = _devices_of(_is_remote), _devices_of(_FAT.__contains__)
        return stat.st_dev in self._devices

    def may_tell_no_arrival(self, stat: os.stat_result) -> bool:
        """Whether this file's time of change may be of before it came: its original's, or of a clock behind.

        FAT and sshfs keep none, and tell the time of its content.
        """
        return self.hold(stat) or stat.st_dev in self._fat

    def saw(self, stat: os.stat_result) -> None:
        """Take note of what time it is there, if it is one."""
        if self.hold(stat):
            self.age_seconds(stat)

    def age_seconds(self, stat: os.stat_result) -> float:
        """Return how long ago it was written by the share's clock, as far as the latest change tells that."""
        now, changed = time.monotonic(), stat.st_ctime
        latest, seen_at = self._latest.get(stat.st_dev, (changed, now))
        there = max(latest + now - seen_at, changed)
        self._latest[stat.st_dev] = there, now
        return there - stat.st_mtime
