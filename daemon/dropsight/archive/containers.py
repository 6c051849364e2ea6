"""Files that lie within another one, such as a zip or a tar file: its list is in memory while it is open."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dropsight import children
from dropsight.archive.storage import system_of
from dropsight.errors import ConfigError

LEAST_BYTES = 2**28
_last = threading.local()
_listing = threading.RLock()


def is_within(url: str) -> bool:
    return "::" in url


def opened(url: str) -> tuple[Any, str]:
    """Return as `system_of` does; what lies within a file, from where this thread has it open already.

    Else all of its list is read for each: of 20,000 photos in a tar file, for 20,000 of them. It may be
    another than was listed, or one that only a line of a list names.
    """
    inner, _, outer = url.partition("::")
    if not (outer and "://" in inner):  # simplecache::s3://b/a.jpg lies in nothing
        return system_of(url)
    container = (inner.partition("://")[0], outer)
    if getattr(_last, "container", None) != container:
        forget()
        with bounded_list(url):
            _last.system, _ = system_of(url)
        _last.container = container
    return _last.system, inner.partition("://")[2]


def forget() -> None:
    """Have it opened anew by who asks for it next."""
    vars(_last).clear()


@contextmanager
def bounded_list(url: str) -> Iterator[None]:
    """Have the list of a file take no more memory than there is for each worker, which has it too.

    Raises ConfigError beyond: of a tar file, what stands before the files may be of any size, and packed.
    """
    if not is_within(url):
        yield
        return
    share = max(children.half_of_memory() // (1 + len(os.sched_getaffinity(0))), LEAST_BYTES)
    try:
        with _listing, children.bounded_to(_taken_bytes() + share):  # the bound is the whole process's
            yield
    except MemoryError as error:
        fault = f"a list of what is in it takes more than {share // 2**20:,} MiB of memory: unpack it"
        raise ConfigError([f"{url}: {fault}"]) from error


def _taken_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
