"""What a command may take of the machine's memory, whatever the files that it reads unpack to."""

from collections.abc import Iterator
from contextlib import contextmanager

from dropsight import children
from dropsight.errors import MachineError


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Bound this process, and those it begins, to half of the machine's; raises MachineError beyond."""
    most = children.half_of_memory()
    try:
        with children.bounded_to(most) as most:
            yield
    except MemoryError as error:
        fault = f"it needs more than {most // 2**20:,} MiB of memory, as much as is taken of this machine's"
        raise MachineError(fault) from error
