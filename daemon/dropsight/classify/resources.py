"""Memory, cores and the log, as the config asks for them."""

import ctypes
import gc
import os
import resource
import sys
from pathlib import Path

import cv2

from dropsight.config import Config
from dropsight.errors import ConfigError, SinkError, StoreError, is_passing
from dropsight.journal.resultlog import ResultLog

_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
# Between a picture of 1920x1080 decoded whole and larger ones.
_LARGE_BYTES = 8 * 2**20
_KEPT_BYTES = 16 * 2**20
_TRIMMED_BYTES = 64 * 2**10
_MOST_DESCRIPTORS = 65_536


def cores() -> int:
    return len(os.sched_getaffinity(0))


def available_bytes() -> int:
    """Return what memory there is for one more process: of the machine's, and of the service's share."""
    return min(_left_of_machine(), _left_of_share())


def _left_of_machine() -> int:
    try:
        facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    except OSError:
        # Hidden, as by ProcSubset=pid: what is free, then, though the kernel would clear more.
        return max(os.sysconf("SC_AVPHYS_PAGES"), 0) * os.sysconf("SC_PAGE_SIZE")
    return int(facts["MemAvailable"].split()[0]) * 1024


def _left_of_share() -> int:
    """What the control group, and each that it lies in, leaves; as much as you like where it has no bound."""
    left = sys.maxsize
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().strip("/")
    except OSError:
        return left
    root = Path("/sys/fs/cgroup")
    for folder in [root / group, *(root / group).parents]:
        if not folder.is_relative_to(root):
            break
        try:
            bound, used = (folder / "memory.max").read_text(), (folder / "memory.current").read_text()
        except OSError:
            continue
        if bound.strip() != "max":
            left = min(left, int(bound) - int(used))
    return left


def share_memory() -> None:
    """Few heaps for many threads, and OpenCV's own threads out of our workers' way.

    What one image is done with stays for the next: given back to the kernel and fetched anew, every page
    would cost a fault. Only large pictures decoded whole go back at once.
    """
    cv2.setNumThreads(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_memory_back() -> None:
    """Let go of what is used no more: freed in the midst of a heap, it would stay with the process.

    Of the heap's end, malloc_trim lets go only where it is the main thread's; whoever frees a large block of
    another one has it look whether that end is long.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    trim, mallopt = getattr(libc, "malloc_trim", None), getattr(libc, "mallopt", None)
    if trim and mallopt:
        trim(0)
        mallopt(_M_TRIM_THRESHOLD, _TRIMMED_BYTES)
        bytes(2 * _TRIMMED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def raise_descriptor_limit() -> None:
    """Ask for as many as there are: the usual 1,024 are few for a web port that anybody may call."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_log(config: Config) -> ResultLog:
    settings = config.log
    try:
        return ResultLog(
            settings.path,
            max_bytes=settings.max_bytes,
            backups=settings.backups,
            compress=settings.compress,
        )
    except SinkError as error:
        raise (
            StoreError(str(error)) if is_passing(error.__cause__) else ConfigError([str(error)])
        ) from error
