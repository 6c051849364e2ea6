"""Small file systems of a test's own, to fill, to write-protect, to take away."""

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brokers import wait_until

# What ext4 and XFS are told by ioctl(2), and by which flag.
_SHUT_DOWN, _NOTHING_WRITTEN = 0x8004587D, 2
LOOP_BYTES = 256 * 2**20  # btrfs takes no less than 109 MiB


@contextmanager
def small_disk(place: Path, *, size: str = "2m") -> Iterator[Path]:
    """A file system of its own mounted at the place."""
    place.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def write_protect(disk: Path, *, on: bool) -> None:
    subprocess.run(["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(disk)], check=True)


def fill(place: Path) -> Path:
    """Take all the room that is left."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    return ballast


class FailingDisk:
    """An ext4 of its own, in a file, that can fail: the kernel then write-protects it under all users."""

    def __init__(self, place: Path) -> None:
        self.place, self._image = place, place.with_name(f"{place.name}.img")
        place.mkdir(parents=True, exist_ok=True)
        with self._image.open("wb") as file:
            file.truncate(2**24)
        made = subprocess.run(["mkfs.ext4", "-q", str(self._image)], capture_output=True, check=False)
        if made.returncode or self._mount("-o", "loop"):
            pytest.skip("mounting an ext4 in a file needs root and loop devices")

    def fail(self) -> None:
        self._mount("-o", "remount,abort")

    def freeze(self, *, on: bool) -> None:
        """Have every writer wait, as for a disk that does not answer."""
        subprocess.run(["fsfreeze", "-f" if on else "-u", str(self.place)], check=True)

    def repair(self) -> None:
        """Mount it anew; nobody may use it."""
        self.remove()
        wait_until(lambda: not self._is_attached)  # else it would be mounted as it failed
        assert self._mount("-o", "loop") == 0

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.place)], check=True)

    @property
    def _is_attached(self) -> bool:
        loops = ["losetup", "--associated", str(self._image)]
        return bool(subprocess.run(loops, check=True, capture_output=True).stdout)

    def _mount(self, *options: str) -> int:
        source = [str(self._image)] if "loop" in options else []
        mount = ["mount", *options, *source, str(self.place)]
        return subprocess.run(mount, capture_output=True, check=False).returncode


@contextmanager
def failing_disk(place: Path) -> Iterator[FailingDisk]:
    disk = FailingDisk(place)
    try:
        yield disk
    finally:
        disk.remove()


class LoopDisk:
    """A file system of any kind in a file, of which others may be mounted in its place."""

    def __init__(self, place: Path, kind: str, *options: str) -> None:
        self.place, self.image = place, place.with_name(f"{place.name}.img")
        place.mkdir(parents=True)
        with self.image.open("wb") as file:
            file.truncate(LOOP_BYTES)
        subprocess.run(
            [f"mkfs.{kind}", *options, str(self.image)], check=True, capture_output=True, text=True
        )

    def mount(self, image: Path | None = None) -> None:
        """Mount it, or this one there."""
        options = ["-o", "loop,noatime", str(image or self.image), str(self.place)]
        subprocess.run(["mount", *options], check=True, capture_output=True, text=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.place)], check=True)

    def pull(self) -> None:
        """Have it fail as one that is pulled out: what its kernel has not written yet is lost."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUT_DOWN, struct.pack("I", _NOTHING_WRITTEN))
        finally:
            os.close(fd)

    def plug_in(self) -> None:
        """Mount what was pulled out, as another device: the kernel has none of it in memory."""
        attach = ["losetup", "--find", "--show", str(self.image)]
        device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run(["mount", "-o", "noatime", device, str(self.place)], check=True)
        subprocess.run(["losetup", "--detach", device], check=True)  # once it is unmounted


def why_no_disk(folder: Path, kind: str) -> str | None:
    """Say why no file system of this kind can be had on this machine; None where it can."""
    if os.geteuid():
        return "mounting a disk needs root"
    try:
        disk = LoopDisk(folder / f"try-{kind}", kind)
        disk.mount()
    except FileNotFoundError:
        return f"there is no mkfs.{kind}"
    except subprocess.CalledProcessError as error:
        return f"{error.stderr.strip()}"
    disk.unmount()
    return None


# A program for `python -c`, which runs another without these calls, as the kernel refuses them on disks of
# another user: fchmod, but for what is for nobody else, and utimensat.
_REFUSING = """
import ctypes, os, platform, struct, sys
fchmod, utimensat = {"x86_64": (91, 280), "aarch64": (52, 88)}[platform.machine()]
steps = [
    (0x20, 0, 0, 0),  # the call's number
    (0x15, 4, 0, utimensat),
    (0x15, 0, 2, fchmod),
    (0x20, 0, 0, 24),  # its second argument
    (0x15, 0, 1, 0o600),
    (0x06, 0, 0, 0x7FFF0000),  # goes on
    (0x06, 0, 0, 0x00050001),  # EPERM
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("H6xP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0, os.strerror(ctypes.get_errno())
os.execvp(sys.argv[1], sys.argv[1:])
"""


def may_not_mark_files() -> list[str]:
    """Return a command that runs another, which may change neither rights nor times of its files."""
    return [sys.executable, "-c", _REFUSING]


def _refusing(steps: str) -> list[str]:
    start, end = _REFUSING.index("fchmod, "), _REFUSING.index(" = ctypes.create")
    return [sys.executable, "-c", _REFUSING[:start] + steps + _REFUSING[end:]]


def may_not_read(count: int) -> list[str]:
    """Return a command that runs another, whose every attempt to read so many bytes is refused: EACCES."""
    steps = f"""steps = [
    (0x20, 0, 0, 0),  # the call's number
    (0x15, 0, 2, {{"x86_64": 0, "aarch64": 63}}[platform.machine()]),
    (0x20, 0, 0, 32),  # its third argument
    (0x15, 1, 0, {count}),
    (0x06, 0, 0, 0x7FFF0000),  # goes on
    (0x06, 0, 0, 0x0005000D),  # EACCES
]
code"""
    return _refusing(steps)


def may_not_unlink() -> list[str]:
    """Return a command that runs another, whose every `unlinkat` is an error of the disk: EIO."""
    steps = """steps = [
    (0x20, 0, 0, 0),  # the call's number
    (0x15, 0, 1, {"x86_64": 263, "aarch64": 35}[platform.machine()]),
    (0x06, 0, 0, 0x00050005),  # EIO
    (0x06, 0, 0, 0x7FFF0000),  # goes on
]
code"""
    return _refusing(steps)
