"""Memory, cores and the log, as the config asks for them."""

import ctypes
import gc
import os
import resource

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
