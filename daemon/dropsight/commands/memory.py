"""What a command may take of the machine's memory, whatever the files that it reads unpack to."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from dropsight import children
from dropsight.errors import MachineError


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Bound this process, and those it begins, to half of the machine's; raises MachineError beyond."""
    before, most = resource.getrlimit(resource.RLIMIT_DATA), children.half_of_memory()
    soft = most if before[0] == resource.RLIM_INFINITY else min(most, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
    try:
        yield
    except MemoryError as error:
        fault = f"it needs more than {soft // 2**20:,} MiB of memory, as much as is taken of this machine's"
        raise MachineError(fault) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
